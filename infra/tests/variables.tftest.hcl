# What is refused, variable by variable: in each run every variable named is wrong in one way.

variables {
  function_zip  = "tests/fixtures/function.zip"
  worker_binary = "tests/fixtures/laminix-builder"
}

provider "aws" {
  region = "eu-central-1"
}

run "refused" {
  command = plan

  variables {
    name                  = "Laminix"
    package_source        = "path:/nixpkgs"
    system                = "riscv64-linux"
    refresh               = "soon"
    warm                  = ["shell/git:latest"]
    warm_tag              = "a/b"
    warm_schedule         = "every hour"
    function_zip          = "tests/fixtures/none.zip"
    function_architecture = "aarch64"
    function_memory       = 64
    function_timeout      = 25 # a request that waits would be cut off before it is sent round
    function_concurrency  = -2
    function_environment  = { AWS_REGION = "eu-west-1" }
    log_level             = "INFO!"
    log_retention_days    = 31
    alarm_email           = "somebody"
    bucket                = "has.a.dot"
    store_url             = "file:///store"
    domain                = { names = [], certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/c" }
    worker_max            = -1
    worker_ami            = "debian"
    worker_volume_size    = 8
    worker_free           = "some"
    worker_jobs           = 0
    worker_build_time     = "2 hours"
    worker_build_memory   = "8"
    worker_idle_minutes   = 1
    worker_environment    = { LAMINIX_SANDBOX = "off" }
    subnet_ids            = ["vpc-1"]
    vpc_cidr              = "10.0.0.0/28"
  }

  expect_failures = [
    var.name, var.package_source, var.system, var.refresh, var.warm, var.warm_tag, var.warm_schedule, var.function_zip,
    var.function_architecture, var.function_memory, var.function_timeout, var.function_concurrency,
    var.function_environment, var.log_level, var.log_retention_days, var.alarm_email, var.bucket, var.store_url,
    var.domain, var.worker_max, var.worker_ami, var.worker_volume_size, var.worker_free, var.worker_jobs,
    var.worker_build_time, var.worker_build_memory, var.worker_idle_minutes, var.worker_environment, var.subnet_ids,
    var.vpc_cidr,
  ]
}

run "refused_in_another_way" {
  command = plan

  variables {
    name                  = "a-name-that-is-too-long-for-a-bucket"
    package_source        = "git+https://user@host/repository" # a password would be in the logs
    warm                  = ["Shell/git"]
    warm_schedule         = "cron(0 4 * * ?)"
    function_zip          = "tests/fixtures/laminix-builder"
    function_timeout      = 1000
    domain                = { names = ["example.org"], certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/c" }
    worker_min            = 2 # and one at most
    worker_binary         = "tests/fixtures/none"
    worker_instance_types = ["c7g.xlarge"]
    worker_environment    = { "lower" = "case" }
    vpc_cidr              = "10.0.0.0"
    store_url             = "gs://bucket" # and no keys to it
  }

  expect_failures = [
    var.name, var.package_source, var.warm, var.warm_schedule, var.function_zip, var.function_timeout, var.domain,
    var.worker_min, var.worker_binary, var.worker_instance_types, var.worker_environment, var.vpc_cidr,
    var.store_secrets,
  ]
}

run "instances_of_the_other_architecture" {
  command = plan

  variables {
    system                = "aarch64-linux"
    worker_instance_types = ["c7g.xlarge", "g5.xlarge"] # a g in front is a graphics card's
  }

  expect_failures = [var.worker_instance_types]
}

run "keys_too_long_for_lambda" {
  command = plan

  variables {
    store_url     = "gs://bucket"
    store_secrets = { function = { GCS_SIGNING_KEY = join("", [for i in range(400) : "12345678"]) }, worker = {} }
  }

  expect_failures = [var.store_secrets]
}

run "nothing_else_is_refused" {
  command = plan

  variables {
    name                  = "l2"
    package_source        = "git+https://github.com/NixOS/nixpkgs"
    system                = "aarch64-linux"
    warm                  = ["shell", "arm64/shell/perlpackages.ipcrun", "a__b--c"]
    warm_schedule         = "cron(0 4 * * ? *)"
    function_concurrency  = 0
    worker_instance_types = ["c7gd.xlarge", "a1.xlarge"]
    worker_build_memory   = "8G"
    alarm_email           = "somebody@example.org"
    domain                = { names = ["example.org"], certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/c" }
  }
}
