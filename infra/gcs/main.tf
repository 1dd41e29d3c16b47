# A bucket of Google Cloud Storage as the home of the objects, for the module above: its outputs are that module's
# variables of the same name. It is a module of its own because whoever uses a provider has to configure it, and nobody
# should need Google's credentials to live on AWS.

terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }
}

locals {
  written = {
    function = ["images", "manifests", "blobs", "claims"]
    worker   = ["packages", "layers", "blobs", "sources", "claims"]
  }

  objects = "projects/_/buckets/${var.bucket}/objects"
}

resource "google_storage_bucket" "store" {
  name                        = var.bucket
  location                    = var.location
  force_destroy               = var.force_destroy
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  labels                      = var.labels

  # what is deleted would be kept, and paid for, for a week more
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  # a claim counts for minutes; what its worker did not clear away is rubbish
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 7
      matches_prefix = ["claims/"]
    }
  }

  # parts of an upload whose worker was killed are invisible, and are paid for
  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 2
    }
  }
}

resource "google_service_account" "account" {
  for_each     = local.written
  account_id   = "${var.name}-${each.key}"
  display_name = "Laminix ${each.key}"
}

# Reading is not split: each of the two reads every prefix. As on S3, an absent key is a 404 only for those who may
# list; a condition on the name of an object would refuse that, because a list is asked of the bucket.
resource "google_storage_bucket_iam_member" "read" {
  for_each = google_service_account.account
  bucket   = google_storage_bucket.store.name
  role     = "roles/storage.objectViewer"
  member   = each.value.member
}

# Writing is split by prefix. Google has no permission to replace an object that is not also one to delete it
# (storage.objects.delete), and both sides write a thing twice when two of them make it at once. So here, other than on
# S3, each may delete what it may write.
resource "google_storage_bucket_iam_member" "write" {
  for_each = google_service_account.account
  bucket   = google_storage_bucket.store.name
  role     = "roles/storage.objectUser"
  member   = each.value.member

  condition {
    title       = "${each.key}-prefixes"
    description = "What the ${each.key} writes"
    expression = join(" || ", [
      for prefix in local.written[each.key] : "resource.name.startsWith(\"${local.objects}/${prefix}/\")"
    ])
  }
}

# the S3 interface
resource "google_storage_hmac_key" "key" {
  for_each              = var.interface == "s3" ? google_service_account.account : {}
  service_account_email = each.value.email
}

# its own interface; the key signs URLs as well
resource "google_service_account_key" "key" {
  for_each           = var.interface == "gs" ? google_service_account.account : {}
  service_account_id = each.value.name
}

locals {
  secrets = { for side in keys(local.written) : side => var.interface == "s3" ? {
    LAMINIX_STORE_ACCESS_KEY = google_storage_hmac_key.key[side].access_id
    LAMINIX_STORE_SECRET_KEY = google_storage_hmac_key.key[side].secret
    } : {
    GCS_SIGNING_ACCOUNT = google_service_account.account[side].email
    GCS_SIGNING_KEY     = jsondecode(base64decode(google_service_account_key.key[side].private_key)).private_key
  } }
}
