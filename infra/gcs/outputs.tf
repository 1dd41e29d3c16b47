output "store_url" {
  description = "For the variable of that name."
  value = (
    var.interface == "gs" ? "gs://${google_storage_bucket.store.name}"
    : "s3://${google_storage_bucket.store.name}?endpoint=https://storage.googleapis.com&region=auto&path-style"
  )
}

output "store_secrets" {
  description = "For the variable of that name."
  value       = local.secrets
  sensitive   = true
}

output "bucket" {
  description = "The bucket's name."
  value       = google_storage_bucket.store.name
}
