# Laminix on AWS alone. Build the function's zip and the worker's binary, then:
#
#   terraform init && terraform apply

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.45"
    }
  }
}

variable "region" {
  description = "Where it runs."
  type        = string
  default     = "eu-central-1"
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

module "laminix" {
  source = "../.." # elsewhere: "git::https://HOST/laminix.git//infra?ref=TAG"

  function_zip  = var.function_zip
  worker_binary = var.worker_binary

  package_source = "channel:nixos-25.11"
  worker_max     = 2
  warm           = ["shell", "shell/git", "shell/python3"]

  # function_concurrency = 100                    # what strangers can cost, at most
  # alarm_email          = "somebody@example.org" # who hears of trouble
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
