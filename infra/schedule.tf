# Images that are made ready before anybody asks, again and again, so that a new state of the channel is not met cold.

resource "aws_scheduler_schedule_group" "warm" {
  count = length(var.warm) > 0 ? 1 : 0
  name  = "${var.name}-warm"
  tags  = var.tags
}

resource "aws_scheduler_schedule" "warm" {
  for_each = toset(var.warm)

  # names may hold no slash, and 64 characters at most: a hash tells apart what is cut off or written over
  name        = "${substr(replace(each.key, "/[^0-9A-Za-z-]/", "-"), 0, 50)}-${substr(sha256(each.key), 0, 8)}"
  description = "Warms ${each.key}:${var.warm_tag}"
  group_name  = aws_scheduler_schedule_group.warm[0].name

  schedule_expression = var.warm_schedule

  # not all of them in the same second
  flexible_time_window {
    mode                      = "FLEXIBLE"
    maximum_window_in_minutes = 15
  }

  target {
    arn      = aws_sqs_queue.jobs.arn
    role_arn = aws_iam_role.schedule[0].arn
    input    = jsonencode(merge(local.warm_job, { name = each.key }))

    # the next one comes soon enough
    retry_policy {
      maximum_event_age_in_seconds = 3600
      maximum_retry_attempts       = 10
    }
  }

  depends_on = [aws_iam_role_policy.schedule]
}

locals {
  # the message, as src/job.rs reads it, but for the image's name
  warm_job = { format = 1, job = "warm", source = var.package_source, tag = var.warm_tag }
}
