# Who may do what. The table is the head of src/key.rs; infra/testing/policies checks these policies against it, and
# .ci/policies tries them on an S3 server.

locals {
  read_by_function    = ["images", "manifests", "blobs", "packages", "layers", "sources", "claims"]
  written_by_function = ["images", "manifests", "blobs", "claims"]

  read_by_worker    = ["images", "manifests", "blobs", "packages", "layers", "sources", "claims"]
  written_by_worker = ["packages", "layers", "blobs", "sources", "claims"]
}

data "aws_iam_policy_document" "assume" {
  for_each = { function = "lambda", worker = "ec2", schedule = "scheduler" }

  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["${each.value}.amazonaws.com"]
    }

    # the scheduler is one for all accounts: it is not to be sent by another one
    dynamic "condition" {
      for_each = each.key == "schedule" ? [1] : []

      content {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [local.account]
      }
    }
  }
}

resource "aws_iam_role" "function" {
  name               = "${var.name}-function"
  assume_role_policy = data.aws_iam_policy_document.assume["function"].json
  tags               = var.tags
}

data "aws_iam_policy_document" "function" {
  dynamic "statement" {
    for_each = local.store_here ? [1] : []

    content {
      sid       = "Read"
      actions   = ["s3:GetObject"]
      resources = [for prefix in local.read_by_function : "${local.bucket_arn}/${prefix}/*"]
    }
  }

  # For a key that is absent S3 answers 404 only to those who may list, 403 to all others, and absence is what the
  # function asks for all day. S3's documentation does not say what s3:prefix is in that check. Ceph's s3-tests
  # (test_head_object_404_with_policy_prefix) hold that it is the key itself; others say that it is not there at all.
  # So there is a statement for either; a listing under any other prefix is refused. What this cannot keep from a role:
  # to list the names under the prefixes that it may read, and to list without naming a prefix, which gives all names
  # of the bucket. Contents stay as they are limited above.
  dynamic "statement" {
    for_each = local.store_here ? [1] : []

    content {
      sid       = "Absent"
      actions   = ["s3:ListBucket"]
      resources = [local.bucket_arn]

      condition {
        test     = "StringLike"
        variable = "s3:prefix"
        values   = [for prefix in local.read_by_function : "${prefix}/*"]
      }
    }
  }

  dynamic "statement" {
    for_each = local.store_here ? [1] : []

    content {
      sid       = "AbsentWithoutPrefix"
      actions   = ["s3:ListBucket"]
      resources = [local.bucket_arn]

      condition {
        test     = "Null"
        variable = "s3:prefix"
        values   = ["true"]
      }
    }
  }

  dynamic "statement" {
    for_each = local.store_here ? [1] : []

    content {
      sid       = "Write"
      actions   = ["s3:PutObject"]
      resources = [for prefix in local.written_by_function : "${local.bucket_arn}/${prefix}/*"]
    }
  }

  dynamic "statement" {
    for_each = local.store_here ? [1] : []

    content {
      sid       = "Release"
      actions   = ["s3:DeleteObject"]
      resources = ["${local.bucket_arn}/claims/*"]
    }
  }

  statement {
    sid       = "Send"
    actions   = ["sqs:SendMessage", "sqs:GetQueueAttributes"]
    resources = [local.jobs_arn]
  }

  statement {
    sid       = "Log"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${local.log_group_arn}:${local.function_log}:*"]
  }
}

resource "aws_iam_role_policy" "function" {
  name   = "function"
  role   = aws_iam_role.function.id
  policy = data.aws_iam_policy_document.function.json
}

resource "aws_iam_role" "worker" {
  count              = local.worker ? 1 : 0
  name               = "${var.name}-worker"
  assume_role_policy = data.aws_iam_policy_document.assume["worker"].json
  tags               = var.tags
}

resource "aws_iam_instance_profile" "worker" {
  count = local.worker ? 1 : 0
  name  = "${var.name}-worker"
  role  = aws_iam_role.worker[0].name
  tags  = var.tags
}

data "aws_iam_policy_document" "worker" {
  statement {
    sid     = "Read"
    actions = ["s3:GetObject"]
    resources = [
      for prefix in concat(local.store_here ? local.read_by_worker : [], ["deploy"]) : "${local.bucket_arn}/${prefix}/*"
    ]
  }

  # the same as for the function; besides, the worker does list images/ and packages/, when a channel moves on
  dynamic "statement" {
    for_each = local.store_here ? [1] : []

    content {
      sid       = "AbsentAndList"
      actions   = ["s3:ListBucket"]
      resources = [local.bucket_arn]

      condition {
        test     = "StringLike"
        variable = "s3:prefix"
        values   = [for prefix in local.read_by_worker : "${prefix}/*"]
      }
    }
  }

  dynamic "statement" {
    for_each = local.store_here ? [1] : []

    content {
      sid       = "AbsentWithoutPrefix"
      actions   = ["s3:ListBucket"]
      resources = [local.bucket_arn]

      condition {
        test     = "Null"
        variable = "s3:prefix"
        values   = ["true"]
      }
    }
  }

  # s3:PutObject is all that an upload in parts needs but for giving it up
  dynamic "statement" {
    for_each = local.store_here ? [1] : []

    content {
      sid       = "Write"
      actions   = ["s3:PutObject", "s3:AbortMultipartUpload"]
      resources = [for prefix in local.written_by_worker : "${local.bucket_arn}/${prefix}/*"]
    }
  }

  dynamic "statement" {
    for_each = local.store_here ? [1] : []

    content {
      sid       = "Release"
      actions   = ["s3:DeleteObject"]
      resources = ["${local.bucket_arn}/claims/*"]
    }
  }

  statement {
    sid = "Work"
    actions = [
      "sqs:ReceiveMessage",
      "sqs:DeleteMessage",
      "sqs:ChangeMessageVisibility",
      "sqs:GetQueueAttributes",
      "sqs:SendMessage",
    ]
    resources = [local.jobs_arn]
  }

  statement {
    sid       = "GiveUp"
    actions   = ["sqs:SendMessage", "sqs:GetQueueAttributes"]
    resources = [local.dead_arn]
  }

  # the group's ARN has an id in its middle that nobody knows before it is made; its name is one of a kind
  statement {
    sid     = "StayWhileAtWork"
    actions = ["autoscaling:SetInstanceProtection"]
    resources = [join(":", [
      "arn", local.partition, "autoscaling", local.region, local.account, "autoScalingGroup", "*",
      "autoScalingGroupName/${local.group_name}",
    ])]
  }

  statement {
    sid       = "Log"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${local.log_group_arn}:${local.worker_log}:*"]
  }
}

resource "aws_iam_role_policy" "worker" {
  count  = local.worker ? 1 : 0
  name   = "worker"
  role   = aws_iam_role.worker[0].id
  policy = data.aws_iam_policy_document.worker.json
}

resource "aws_iam_role" "schedule" {
  count              = length(var.warm) > 0 ? 1 : 0
  name               = "${var.name}-schedule"
  assume_role_policy = data.aws_iam_policy_document.assume["schedule"].json
  tags               = var.tags
}

data "aws_iam_policy_document" "schedule" {
  statement {
    sid       = "Send"
    actions   = ["sqs:SendMessage"]
    resources = [local.jobs_arn]
  }
}

resource "aws_iam_role_policy" "schedule" {
  count  = length(var.warm) > 0 ? 1 : 0
  name   = "schedule"
  role   = aws_iam_role.schedule[0].id
  policy = data.aws_iam_policy_document.schedule.json
}
