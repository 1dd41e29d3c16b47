variable "worker_max" {
  description = "Workers at most. 0: none is made here, one runs elsewhere, or all packages are there already."
  type        = number
  default     = 1

  validation {
    condition     = var.worker_max >= 0 && floor(var.worker_max) == var.worker_max
    error_message = "worker_max: a whole number, 0 or more."
  }
}

variable "worker_min" {
  description = "Workers that are always there. 0: the first pull of a new package waits for an instance to start."
  type        = number
  default     = 0

  validation {
    condition     = var.worker_min >= 0 && var.worker_min <= var.worker_max
    error_message = "worker_min: from 0 to worker_max."
  }
}

variable "worker_binary" {
  description = "Path of the program `laminix-builder`, built for `system`. Not needed where `worker_max` is 0."
  type        = string
  default     = ""

  validation {
    condition     = var.worker_max == 0 || try(fileexists(var.worker_binary), false)
    error_message = "worker_binary: there is no such file: build it first, or set worker_max to 0."
  }
}

variable "worker_instance_types" {
  description = "Kinds of instances that will do, of the architecture of `system`. Empty: four kinds, of 4 cores."
  type        = list(string)
  default     = []
  nullable    = false

  # Graviton's have a g behind the number of their generation
  validation {
    condition = alltrue([for type in var.worker_instance_types :
    can(regex("^(a1|[a-z]+[0-9]+g[a-z]*)\\.", type)) == (var.system == "aarch64-linux")])
    error_message = "worker_instance_types: not of system: c7g.xlarge is aarch64-linux, c7i.xlarge x86_64-linux."
  }
}

variable "worker_spot" {
  description = "Whether to take spot instances: a third of the price; one that is taken away hands its jobs back."
  type        = bool
  default     = true
}

variable "worker_ami" {
  description = "The image of the instances. Empty: the newest Debian 13."
  type        = string
  default     = ""

  validation {
    condition     = var.worker_ami == "" || can(regex("^ami-[0-9a-f]{8,17}$", var.worker_ami))
    error_message = "worker_ami: ami-…, or empty."
  }
}

variable "worker_volume_size" {
  description = "GiB of the volume for /nix."
  type        = number
  default     = 100

  validation {
    condition     = var.worker_volume_size >= 30 && var.worker_volume_size <= 16384
    error_message = "worker_volume_size: from 30 to 16384 GiB."
  }
}

variable "worker_free" {
  description = "What is kept free on /nix, by throwing away what no job needs."
  type        = string
  default     = "20G"

  validation {
    condition     = can(regex("^[1-9][0-9]*[MGT]$", var.worker_free))
    error_message = "worker_free: a size such as 20G."
  }
}

variable "worker_jobs" {
  description = "Jobs that one worker does at once."
  type        = number
  default     = 2

  validation {
    condition     = var.worker_jobs >= 1 && floor(var.worker_jobs) == var.worker_jobs
    error_message = "worker_jobs: a whole number, 1 or more."
  }
}

variable "worker_build_time" {
  description = "The time that one derivation may take."
  type        = string
  default     = "2h"

  validation {
    condition     = can(regex("^[1-9][0-9]*[smhd]$", var.worker_build_time))
    error_message = "worker_build_time: a time such as 90s, 25m, 6h or 7d."
  }
}

variable "worker_build_memory" {
  description = "The memory that each process of a build may take, such as `8G`. Empty: no limit."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([1-9][0-9]*[MGT])?$", var.worker_build_memory))
    error_message = "worker_build_memory: a size such as 8G, or empty."
  }
}

variable "worker_idle_minutes" {
  description = "Minutes without any job after which workers go."
  type        = number
  default     = 15

  validation {
    condition = (
      var.worker_idle_minutes >= 5
      && var.worker_idle_minutes <= 1440
      && floor(var.worker_idle_minutes) == var.worker_idle_minutes
    )
    error_message = "worker_idle_minutes: from 5 (an instance needs a few to start) to 1440."
  }
}

variable "worker_environment" {
  description = "More variables for the worker, such as LAMINIX_SUBSTITUTERS."
  type        = map(string)
  default     = {}
  nullable    = false

  # systemd reads a line each, and the store's keys must not come this way
  validation {
    condition = alltrue([for name, value in var.worker_environment :
    can(regex("^[A-Z][A-Z0-9_]*$", name)) && !strcontains(value, "\n")])
    error_message = "worker_environment: names in capitals, values of one line."
  }

  validation {
    condition     = lookup(var.worker_environment, "LAMINIX_SANDBOX", "required") == "required"
    error_message = "worker_environment: builds are strangers' code beside the role's keys: the sandbox stays required."
  }
}

variable "subnet_ids" {
  description = "Subnets for the worker, with a way to the internet. Empty: a small network is made."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for id in var.subnet_ids : startswith(id, "subnet-")])
    error_message = "subnet_ids: subnet-…"
  }
}

variable "vpc_cidr" {
  description = "Addresses of the network that is made."
  type        = string
  default     = "10.57.0.0/24"

  validation {
    condition     = can(cidrsubnet(var.vpc_cidr, 2, 1)) && can(regex("/(1[6-9]|2[0-6])$", var.vpc_cidr))
    error_message = "vpc_cidr: a range from /16 to /26."
  }
}
