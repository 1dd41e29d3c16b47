# Laminix with its objects in Google Cloud Storage; the function, the queue and the worker stay on AWS. Log in to both
# (aws sso login, gcloud auth application-default login), build the function's zip and the worker's binary, then:
#
#   terraform init && terraform apply -var project=PROJECT -var bucket=BUCKET

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.45"
    }
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }
}

variable "region" {
  description = "AWS: where function and worker run."
  type        = string
  default     = "eu-central-1"
}

variable "project" {
  description = "Google: the project that the bucket is in."
  type        = string
}

variable "bucket" {
  description = "Google: the bucket's name, one space for the whole world."
  type        = string
}

variable "location" {
  description = "Google: where the bucket is. Near the region above."
  type        = string
  default     = "EUROPE-WEST3"
}

variable "interface" {
  description = "Google: `gs` for its own interface, `s3` for the other one."
  type        = string
  default     = "gs"
}

variable "function_zip" {
  description = "The function, built for arm64."
  type        = string
  default     = "laminix.zip"
}

variable "worker_binary" {
  description = "The worker, built for x86-64."
  type        = string
  default     = "laminix-builder"
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { Project = "laminix" }
  }
}

provider "google" {
  project = var.project
}

module "store" {
  source = "../../gcs" # elsewhere: "git::https://HOST/laminix.git//infra/gcs?ref=TAG"

  bucket    = var.bucket
  location  = var.location
  interface = var.interface
}

module "laminix" {
  source = "../.." # elsewhere: "git::https://HOST/laminix.git//infra?ref=TAG"

  function_zip  = var.function_zip
  worker_binary = var.worker_binary

  package_source = "channel:nixos-25.11"
  store_url      = module.store.store_url
  store_secrets  = module.store.store_secrets
}

output "pull" {
  description = "What to type next."
  value       = module.laminix.pull
}

output "next" {
  description = "What else there is to type."
  value = {
    prewarm      = module.laminix.prewarm
    logs         = module.laminix.logs
    dead_letters = module.laminix.dead_letters
    dashboard    = module.laminix.dashboard
  }
}
