# The objects: the layout is the head of src/key.rs. Private: clients reach blobs by expiring URLs, nothing else.

resource "aws_s3_bucket" "store" {
  bucket        = local.bucket
  force_destroy = var.bucket_force_destroy
  tags          = var.tags
}

resource "aws_s3_bucket_public_access_block" "store" {
  bucket                  = aws_s3_bucket.store.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "store" {
  bucket = aws_s3_bucket.store.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

# S3's own key. With a key of KMS every presigned URL would need kms:Decrypt as well, and each pull would cost a call
# to KMS for each layer.
resource "aws_s3_bucket_server_side_encryption_configuration" "store" {
  bucket = aws_s3_bucket.store.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

# Where it was never wanted there is none: in a bucket that is suspended every delete leaves a marker, and the bucket cannot
# be destroyed although it looks empty. Taking it away again suspends it.
resource "aws_s3_bucket_versioning" "store" {
  count  = var.bucket_versioning ? 1 : 0
  bucket = aws_s3_bucket.store.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "store" {
  bucket = aws_s3_bucket.store.id

  # a claim counts for minutes; what its worker did not clear away is rubbish
  rule {
    id     = "claims"
    status = "Enabled"

    filter {
      prefix = "claims/"
    }

    expiration {
      days = 7
    }
  }

  # parts of an upload whose worker was killed are invisible, and are paid for
  rule {
    id     = "uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }

  rule {
    id     = "versions"
    status = "Enabled"

    filter {}

    expiration {
      expired_object_delete_marker = true
    }

    noncurrent_version_expiration {
      noncurrent_days = 30
    }
  }

  depends_on = [aws_s3_bucket_versioning.store]
}

data "aws_iam_policy_document" "bucket" {
  statement {
    sid       = "OnlyOverTLS"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [local.bucket_arn, "${local.bucket_arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  # Whoever writes a record decides what everybody runs. So these are not only given to one role: they are kept from
  # every other one of the account, whatever its own policies say. An administrator who must write them by hand has to
  # change this policy first, which leaves a trace.
  dynamic "statement" {
    for_each = local.store_here && local.worker ? [1] : []

    content {
      sid       = "RecordsAreTheWorkers"
      effect    = "Deny"
      actions   = ["s3:PutObject"]
      resources = [for prefix in ["packages", "layers", "sources"] : "${local.bucket_arn}/${prefix}/*"]

      principals {
        type        = "*"
        identifiers = ["*"]
      }

      condition {
        test     = "ArnNotEquals"
        variable = "aws:PrincipalArn"
        values   = ["${local.role_arn}/${var.name}-worker"]
      }
    }
  }

  dynamic "statement" {
    for_each = local.store_here ? [1] : []

    content {
      sid       = "ImagesAreTheFunctions"
      effect    = "Deny"
      actions   = ["s3:PutObject"]
      resources = [for prefix in ["images", "manifests"] : "${local.bucket_arn}/${prefix}/*"]

      principals {
        type        = "*"
        identifiers = ["*"]
      }

      condition {
        test     = "ArnNotEquals"
        variable = "aws:PrincipalArn"
        values   = ["${local.role_arn}/${var.name}-function"]
      }
    }
  }

  # the roles run what is in deploy/, so they must not be able to change it
  statement {
    sid       = "RolesDoNotDeploy"
    effect    = "Deny"
    actions   = ["s3:PutObject", "s3:DeleteObject"]
    resources = ["${local.bucket_arn}/deploy/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:PrincipalArn"
      values   = ["${local.role_arn}/${var.name}-function", "${local.role_arn}/${var.name}-worker"]
    }
  }
}

resource "aws_s3_bucket_policy" "store" {
  bucket = aws_s3_bucket.store.id
  policy = data.aws_iam_policy_document.bucket.json

  # two changes of a bucket's access at once make S3 answer 409
  depends_on = [aws_s3_bucket_public_access_block.store]
}
