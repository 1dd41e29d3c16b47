# Jobs for the worker, and those that it gave up.

resource "aws_sqs_queue" "jobs" {
  name = local.jobs_name

  # for a receiver that asks for nothing else; the worker asks for 30 s and renews that every 10 s
  visibility_timeout_seconds = 60
  message_retention_seconds  = 4 * 24 * 3600
  receive_wait_time_seconds  = 20
  # a job that joins many layers names all their store paths
  max_message_size        = 1048576
  sqs_managed_sse_enabled = true
  tags                    = var.tags

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue" "dead" {
  name                      = local.dead_name
  message_retention_seconds = 14 * 24 * 3600
  sqs_managed_sse_enabled   = true
  tags                      = var.tags
}

resource "aws_sqs_queue_redrive_allow_policy" "dead" {
  queue_url = aws_sqs_queue.dead.id

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.jobs.arn]
  })
}

data "aws_iam_policy_document" "queue" {
  for_each = { jobs = local.jobs_arn, dead = local.dead_arn }

  statement {
    sid       = "OnlyOverTLS"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [each.value]

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
}

resource "aws_sqs_queue_policy" "queue" {
  for_each  = { jobs = aws_sqs_queue.jobs.id, dead = aws_sqs_queue.dead.id }
  queue_url = each.value
  policy    = data.aws_iam_policy_document.queue[each.key].json
}
