variable "bucket" {
  description = "The bucket's name: one space for the whole world."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket: 3 to 63 lower-case letters, digits, hyphens and underscores."
  }
}

variable "location" {
  description = "Where it is, such as EUROPE-WEST3: near the function."
  type        = string
}

variable "name" {
  description = "Start of the service accounts' names."
  type        = string
  default     = "laminix"

  # an account's name has 30 characters at most, and `-function` comes behind it
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,20}$", var.name))
    error_message = "name: 5 to 21 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "interface" {
  description = "`gs`: Google's own, with a service account's key, which newer organisations forbid. `s3`: its S3 interface, with an HMAC key."
  type        = string
  default     = "gs"

  validation {
    condition     = contains(["gs", "s3"], var.interface)
    error_message = "interface: gs or s3."
  }
}

variable "force_destroy" {
  description = "Whether `terraform destroy` throws the objects away; else it stops at a bucket that is not empty."
  type        = bool
  default     = false
}

variable "labels" {
  description = "Labels for the bucket."
  type        = map(string)
  default     = {}
}
