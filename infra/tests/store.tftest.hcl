# The store: the bucket of S3, or one of Google's by either interface.

variables {
  function_zip  = "tests/fixtures/function.zip"
  worker_binary = "tests/fixtures/laminix-builder"
}

provider "aws" {
  region = "eu-central-1"
}

provider "google" {
  project = "offline-project"
}

run "a_private_bucket" {
  command = plan

  assert {
    condition = (
      aws_s3_bucket_public_access_block.store.block_public_acls
      && aws_s3_bucket_public_access_block.store.block_public_policy
      && aws_s3_bucket_public_access_block.store.ignore_public_acls
      && aws_s3_bucket_public_access_block.store.restrict_public_buckets
    )
    error_message = "it could be made public"
  }

  assert {
    condition = (
      { for rule in aws_s3_bucket_lifecycle_configuration.store.rule : rule.id => rule.status }
      == { claims = "Enabled", uploads = "Enabled", versions = "Enabled" }
    )
    error_message = "a rule is missing"
  }

  assert {
    condition = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.store.rule : (
      rule.id == "claims" ? rule.filter[0].prefix == "claims/" && rule.expiration[0].days == 7
      : rule.id == "uploads" ? rule.abort_incomplete_multipart_upload[0].days_after_initiation == 2
      : rule.noncurrent_version_expiration[0].noncurrent_days == 30
    )])
    error_message = "a rule does another thing"
  }

  assert {
    condition = (
      length(aws_s3_bucket_versioning.store) == 0
      && !aws_s3_bucket.store.force_destroy
    )
    error_message = "versions are kept, or objects are not"
  }
}

run "google" {
  command = apply

  module {
    source = "./gcs"
  }

  variables {
    bucket   = "objects"
    location = "EUROPE-WEST3"
  }

  assert {
    condition = (
      google_storage_bucket.store.uniform_bucket_level_access
      && google_storage_bucket.store.public_access_prevention == "enforced"
    )
    error_message = "it could be made public"
  }

  assert {
    condition     = output.store_url == "gs://objects" && length(google_storage_hmac_key.key) == 0
    error_message = "another interface"
  }

  assert {
    condition = (
      join(" ", keys(output.store_secrets.function)) == "GCS_SIGNING_ACCOUNT GCS_SIGNING_KEY"
      && startswith(output.store_secrets.worker.GCS_SIGNING_ACCOUNT, "laminix-worker@")
      && startswith(output.store_secrets.worker.GCS_SIGNING_KEY, "-----BEGIN PRIVATE KEY-----\n")
    )
    error_message = "other keys"
  }
}

run "function_and_worker_with_google" {
  command = apply

  variables {
    store_url     = run.google.store_url
    store_secrets = run.google.store_secrets
  }

  assert {
    condition = (
      join(" ", setsubtract(keys(aws_lambda_function.function.environment[0].variables), keys(output.function_environment)))
      == "GCS_SIGNING_ACCOUNT GCS_SIGNING_KEY"
      && aws_lambda_function.function.environment[0].variables.LAMINIX_STORE == "gs://objects"
    )
    error_message = "the function does not know its store"
  }

  assert {
    condition     = !strcontains(data.aws_iam_policy_document.function.json, "s3:")
    error_message = "rights in a bucket that is not used"
  }

  assert {
    condition = (
      output.worker_environment.LAMINIX_STORE == "gs://objects"
      && !strcontains(base64decode(aws_launch_template.worker[0].user_data), "PRIVATE KEY")
    )
    error_message = "the worker does not know its store, or everybody its key"
  }

  # the key goes over lines, as systemd lets it within quotes
  assert {
    condition = can(regex(
      "^GCS_SIGNING_ACCOUNT=\"[^\"\\n]+\"\nGCS_SIGNING_KEY=\"-----BEGIN PRIVATE KEY-----\n[^\"]+\n\"\n$",
      nonsensitive(aws_s3_object.secrets[0].content)
    ))
    error_message = "not what systemd reads"
  }

  assert {
    condition     = strcontains(base64decode(aws_launch_template.worker[0].user_data), "deploy/worker.env")
    error_message = "the worker is not told where its keys are"
  }
}

run "google_by_its_s3_interface" {
  command = apply

  module {
    source = "./gcs"
  }

  variables {
    bucket    = "objects"
    location  = "EUROPE-WEST3"
    interface = "s3"
  }

  assert {
    condition = (
      output.store_url == "s3://objects?endpoint=https://storage.googleapis.com&region=auto&path-style"
      && length(google_service_account_key.key) == 0
    )
    error_message = "another interface: ${output.store_url}"
  }

  assert {
    condition = (
      join(" ", keys(output.store_secrets.function))
      == "LAMINIX_STORE_ACCESS_KEY LAMINIX_STORE_SECRET_KEY"
    )
    error_message = "other keys"
  }
}

run "function_and_worker_with_the_s3_interface" {
  command = apply

  variables {
    store_url     = run.google_by_its_s3_interface.store_url
    store_secrets = run.google_by_its_s3_interface.store_secrets
  }

  assert {
    condition = (
      join(" ", setsubtract(keys(aws_lambda_function.function.environment[0].variables), keys(output.function_environment)))
      == "LAMINIX_STORE_ACCESS_KEY LAMINIX_STORE_SECRET_KEY"
    )
    error_message = "the function has no keys"
  }

  assert {
    condition = (
      output.function_environment.LAMINIX_STORE
      == "s3://objects?endpoint=https://storage.googleapis.com&region=auto&path-style"
    )
    error_message = "the function does not know its store"
  }
}

run "google_refuses" {
  command = plan

  module {
    source = "./gcs"
  }

  variables {
    bucket    = "No"
    location  = "EUROPE-WEST3"
    name      = "x"
    interface = "xml"
  }

  expect_failures = [var.bucket, var.name, var.interface]
}
