variable "name" {
  description = "Start of every name that is made: several can live in one account."
  type        = string
  default     = "laminix"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,22}[a-z0-9]$", var.name))
    error_message = "name: 2 to 24 lower-case letters, digits and hyphens, a letter first, no hyphen last."
  }
}

variable "tags" {
  description = "Tags for everything."
  type        = map(string)
  default     = {}
  nullable    = false
}

# ---- the package set

variable "package_source" {
  description = "The package set: `channel:NAME`, `git+https://…`."
  type        = string
  default     = "channel:nixos-25.11"

  validation {
    condition     = can(regex("^(channel:[a-z0-9.-]+|git\\+https://[^ ?#@]+)$", var.package_source))
    error_message = "package_source: channel:nixos-25.11 or git+https://host/repository (not a directory)."
  }
}

variable "system" {
  description = "The system of worker and images, unless a name asks for another: `x86_64-linux`, `aarch64-linux`."
  type        = string
  default     = "x86_64-linux"

  validation {
    condition     = contains(["x86_64-linux", "aarch64-linux"], var.system)
    error_message = "system: x86_64-linux or aarch64-linux."
  }
}

variable "refresh" {
  description = "A tag older than this is looked up again in the background."
  type        = string
  default     = "6h"

  validation {
    condition     = can(regex("^[1-9][0-9]*[smhd]$", var.refresh))
    error_message = "refresh: a time such as 90s, 25m, 6h or 7d."
  }
}

variable "warm" {
  description = "Images to make ready on a schedule, such as `shell/git`."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition = alltrue([for name in var.warm :
    length(name) <= 200 && can(regex("^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$", name))])
    error_message = "warm: names of images as in docker pull, without host and tag: shell/git."
  }
}

variable "warm_tag" {
  description = "The tag of the images in `warm`."
  type        = string
  default     = "latest"

  validation {
    condition     = can(regex("^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$", var.warm_tag))
    error_message = "warm_tag: a tag as in docker pull."
  }
}

variable "warm_schedule" {
  description = "When: `rate(…)` or `cron(…)` of EventBridge."
  type        = string
  default     = "rate(6 hours)"

  validation {
    condition     = can(regex("^(rate\\([1-9]\\d* (minute|hour|day)s?\\)|cron\\(\\S+( \\S+){5}\\))$", var.warm_schedule))
    error_message = "warm_schedule: rate(6 hours) or cron(0 4 * * ? *)."
  }
}

# ---- the function

variable "function_zip" {
  description = "Path of the function's zip, which holds one program named `bootstrap`."
  type        = string

  validation {
    condition     = endswith(var.function_zip, ".zip") && fileexists(var.function_zip)
    error_message = "function_zip: there is no such zip: build it first, and name it from the root module by path.root."
  }
}

variable "function_architecture" {
  description = "What the zip is built for: `arm64` or `x86_64`. It need not be the system of the images."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.function_architecture)
    error_message = "function_architecture: arm64 or x86_64."
  }
}

variable "function_memory" {
  description = "MiB of memory; the share of a CPU goes with it."
  type        = number
  default     = 512

  validation {
    condition = (
      var.function_memory >= 128
      && var.function_memory <= 10240
      && floor(var.function_memory) == var.function_memory
    )
    error_message = "function_memory: a whole number from 128 to 10240."
  }
}

variable "function_timeout" {
  description = "Seconds that a request may take: more than the 25 s after which one that waits is sent round."
  type        = number
  default     = 60

  validation {
    condition     = var.function_timeout >= 30 && var.function_timeout <= 900
    error_message = "function_timeout: from 30 to 900 seconds."
  }
}

variable "function_concurrency" {
  description = "Requests at once: bounds what strangers can cost; each pull that waits is one. The account needs a quota of 100 more. -1: no bound."
  type        = number
  default     = -1

  validation {
    condition     = var.function_concurrency >= -1
    error_message = "function_concurrency: -1 for no bound, 0 to switch it off, or how many."
  }
}

variable "function_environment" {
  description = "More variables for the function."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = !anytrue([for name in keys(var.function_environment) : startswith(name, "AWS_")])
    error_message = "function_environment: names that begin with AWS_ are Lambda's own."
  }
}

variable "log_level" {
  description = "What is logged: `error`, `warn`, `info`, `debug`, or by part, such as `info,laminix::store=debug`."
  type        = string
  default     = "info"

  validation {
    condition     = can(regex("^[a-z_:=,]+$", var.log_level))
    error_message = "log_level: error, warn, info, debug, trace, or parts such as info,laminix::store=debug."
  }
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_retention_days)
    error_message = "log_retention_days: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545 or 731."
  }
}

# ---- alarms

variable "alarm_email" {
  description = "Who hears of alarms; the address gets a mail to confirm. Empty: nobody."
  type        = string
  default     = ""

  validation {
    condition     = var.alarm_email == "" || can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", var.alarm_email))
    error_message = "alarm_email: an address, or empty."
  }
}

# ---- the store

variable "bucket" {
  description = "The bucket's name. Empty: name, account and region."
  type        = string
  default     = ""

  validation {
    condition     = var.bucket == "" || can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket: 3 to 63 lower-case letters, digits and hyphens (a dot would break TLS)."
  }
}

variable "bucket_force_destroy" {
  description = "Whether `terraform destroy` throws the objects away; else it stops at a bucket that is not empty."
  type        = bool
  default     = false
}

variable "bucket_versioning" {
  description = "Whether what is overwritten or deleted is kept for 30 days."
  type        = bool
  default     = false
}

variable "store_url" {
  description = "A store elsewhere, in place of the bucket: the output `store_url` of the module in `gcs/`."
  type        = string
  default     = ""

  validation {
    condition = (
      var.store_url == ""
      || can(regex("^(s3|gs)://[a-z0-9][a-z0-9._-]+[a-z0-9](/[^? ]*)?(\\?[^ ]*)?$", var.store_url))
    )
    error_message = "store_url: s3://bucket?endpoint=… or gs://bucket."
  }
}

variable "store_secrets" {
  description = "Variables with the keys to that store: the output `store_secrets` of the module in `gcs/`."
  type = object({
    function = map(string)
    worker   = map(string)
  })
  default   = { function = {}, worker = {} }
  nullable  = false
  sensitive = true

  validation {
    condition     = var.store_url == "" || length(var.store_secrets.function) > 0
    error_message = "store_secrets: a store_url without keys: the role is worth nothing there."
  }

  # Lambda takes 4 KiB of variables in all
  validation {
    condition     = length(join("", flatten([for name, value in var.store_secrets.function : [name, value]]))) <= 3072
    error_message = "store_secrets: the function's are longer than 3 KiB, and Lambda takes 4 KiB of variables in all."
  }
}

# ---- a name of one's own

variable "domain" {
  description = "Names of your own, by CloudFront: `names`, `certificate_arn`, and `zone_id` for records."
  type = object({
    names           = list(string)
    certificate_arn = string
    zone_id         = optional(string)
  })
  default = null

  validation {
    condition     = var.domain == null ? true : length(var.domain.names) > 0
    error_message = "domain: at least one name."
  }

  validation {
    condition = (
      var.domain
      == null ? true : can(regex("^arn:aws[a-z-]*:acm:us-east-1:[0-9]{12}:certificate/.+$", var.domain.certificate_arn))
    )
    error_message = "domain: CloudFront takes certificates of ACM in us-east-1 only."
  }
}
