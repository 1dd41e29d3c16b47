# What a person should hear of. The alarms that scale the worker are in scaling.tf.

resource "aws_sns_topic" "alarms" {
  name = "${var.name}-alarms"
  tags = var.tags
}

resource "aws_sns_topic_subscription" "email" {
  count     = var.alarm_email == "" ? 0 : 1
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

locals {
  function_alarms = {
    dead-letters = {
      about     = "Jobs were given up: read them in ${local.dead_name}, mend the cause, then start a redrive"
      namespace = "AWS/SQS", metric = local.queue_metrics.visible, dimensions = { QueueName = local.dead_name }
      statistic = "Maximum", threshold = 1, periods = 1
    }
    errors = {
      about     = "The function crashed or ran out of time: whatever goes wrong it should answer itself"
      namespace = "AWS/Lambda", metric = "Errors", dimensions = { FunctionName = var.name }
      statistic = "Sum", threshold = 1, periods = 2
    }
    throttles = {
      about     = "Lambda turned requests away: the function's or the account's concurrency is used up"
      namespace = "AWS/Lambda", metric = "Throttles", dimensions = { FunctionName = var.name }
      statistic = "Sum", threshold = 1, periods = 1
    }
    server-errors = {
      about     = "Clients get 5xx: store or queue do not answer, or refuse"
      namespace = "AWS/Lambda", metric = "Url5xxCount", dimensions = { FunctionName = var.name }
      statistic = "Sum", threshold = 5, periods = 1
    }
    duration = {
      about     = "A request took nearly as long as it may: after ${var.function_timeout} s Lambda cuts it off"
      namespace = "AWS/Lambda", metric = "Duration", dimensions = { FunctionName = var.name }
      statistic = "Maximum", threshold = var.function_timeout * 900, periods = 1
    }
  }

  worker_alarms = {
    worker-errors = {
      about     = "The worker logs errors that are not of a package: see ${local.worker_log}"
      namespace = "Laminix", metric = "WorkerErrors", dimensions = null
      statistic = "Sum", threshold = 5, periods = 3
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "alarm" {
  for_each            = merge(local.function_alarms, local.worker ? local.worker_alarms : {})
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.about
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = each.value.threshold
  period              = 300
  evaluation_periods  = each.value.periods
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags                = var.tags
}

# as `age` in scaling.tf: jobs that somebody is at do not count
resource "aws_cloudwatch_metric_alarm" "job_age" {
  alarm_name          = "${var.name}-job-age"
  alarm_description   = "A job has waited for a quarter of an hour: is there a worker, and does it keep up?"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 900
  evaluation_periods  = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags                = var.tags

  metric_query {
    id          = "waited"
    label       = "seconds that a job has waited"
    expression  = "IF(visible > 0, age, 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = toset(["visible", "age"])

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/SQS"
        metric_name = local.queue_metrics[metric_query.key]
        dimensions  = { QueueName = aws_sqs_queue.jobs.name }
        stat        = "Maximum"
        period      = 300
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "no_worker" {
  count               = local.worker ? 1 : 0
  alarm_name          = "${var.name}-no-worker"
  alarm_description   = "Jobs wait and no worker has come for a quarter of an hour: no capacity, or it fails to start"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  evaluation_periods  = 15
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags                = var.tags

  metric_query {
    id          = "deserted"
    label       = "jobs without a worker"
    expression  = "IF((healthy < 1) AND (visible > 0), 1, 0)"
    return_data = true
  }

  metric_query {
    id = "visible"

    metric {
      namespace   = "AWS/SQS"
      metric_name = local.queue_metrics.visible
      dimensions  = { QueueName = aws_sqs_queue.jobs.name }
      stat        = "Maximum"
      period      = 60
    }
  }

  metric_query {
    id = "healthy"

    metric {
      namespace   = "AWS/AutoScaling"
      metric_name = "GroupInServiceInstances"
      dimensions  = { AutoScalingGroupName = aws_autoscaling_group.worker[0].name }
      stat        = "Maximum"
      period      = 60
    }
  }
}

# the worker logs JSON, a level in each line; it has no right to write metrics of its own
resource "aws_cloudwatch_log_metric_filter" "worker_errors" {
  count          = local.worker ? 1 : 0
  name           = "${var.name}-worker-errors"
  log_group_name = aws_cloudwatch_log_group.worker[0].name
  pattern        = "{ $.level = \"ERROR\" }"

  metric_transformation {
    namespace = "Laminix"
    name      = "WorkerErrors"
    value     = "1"
  }
}
