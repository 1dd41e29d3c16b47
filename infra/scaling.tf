# How many workers there are: up by what waits in the queue, down to worker_min when nothing is waiting or being done.
#
# Up is in steps of one, because a worker does several jobs at once and most jobs are short; an instance counts as on
# its way for the warm-up, so a queue that one new worker empties does not get a second one. Down is all at once: a
# worker at work has protected itself (autoscaling:SetInstanceProtection), so only idle ones go.

locals {
  queue_metrics = {
    visible  = "ApproximateNumberOfMessagesVisible"
    inflight = "ApproximateNumberOfMessagesNotVisible"
    age      = "ApproximateAgeOfOldestMessage"
  }
}

resource "aws_autoscaling_policy" "out" {
  count                     = local.worker ? 1 : 0
  name                      = "${var.name}-out"
  autoscaling_group_name    = aws_autoscaling_group.worker[0].name
  policy_type               = "StepScaling"
  adjustment_type           = "ChangeInCapacity"
  estimated_instance_warmup = 300

  step_adjustment {
    metric_interval_lower_bound = 0
    scaling_adjustment          = 1
  }
}

resource "aws_autoscaling_policy" "in" {
  count                  = local.worker ? 1 : 0
  name                   = "${var.name}-in"
  autoscaling_group_name = aws_autoscaling_group.worker[0].name
  policy_type            = "StepScaling"
  adjustment_type        = "ExactCapacity"

  step_adjustment {
    metric_interval_lower_bound = 0
    scaling_adjustment          = var.worker_min
  }
}

# Something waits that nobody has taken.
resource "aws_cloudwatch_metric_alarm" "depth" {
  count               = local.worker ? 1 : 0
  alarm_name          = "${var.name}-scale-depth"
  alarm_description   = "Jobs wait: one worker more"
  namespace           = "AWS/SQS"
  metric_name         = local.queue_metrics.visible
  dimensions          = { QueueName = aws_sqs_queue.jobs.name }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  period              = 60
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_autoscaling_policy.out[0].arn]
  tags                = var.tags
}

# One has waited for long: those that are there are not enough. The age may be that of a job that somebody is at, so it
# counts only while others wait.
resource "aws_cloudwatch_metric_alarm" "age" {
  count               = local.worker ? 1 : 0
  alarm_name          = "${var.name}-scale-age"
  alarm_description   = "A job has waited for 5 minutes: one worker more"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_autoscaling_policy.out[0].arn]
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
        period      = 60
      }
    }
  }
}

# A queue that nobody has touched for six hours has no metrics, and they take up to a quarter of an hour to come back.
# The function says at once that somebody waits, so the first worker does not depend on them.
resource "aws_cloudwatch_metric_alarm" "wake" {
  count               = local.worker ? 1 : 0
  alarm_name          = "${var.name}-scale-wake"
  alarm_description   = "Somebody waits and there is no worker at all: the first one"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_autoscaling_policy.out[0].arn]
  tags                = var.tags

  metric_query {
    id          = "asked"
    label       = "requests that wait while there is no worker"
    expression  = "IF(capacity < 1, waited, 0)"
    return_data = true
  }

  metric_query {
    id = "waited"

    metric {
      namespace   = "Laminix"
      metric_name = "Waited"
      dimensions  = { Function = aws_lambda_function.function.function_name }
      stat        = "Sum"
      period      = 60
    }
  }

  metric_query {
    id = "capacity"

    metric {
      namespace   = "AWS/AutoScaling"
      metric_name = "GroupDesiredCapacity"
      dimensions  = { AutoScalingGroupName = local.group_name }
      stat        = "Maximum"
      period      = 60
    }
  }
}

# Only while there is a worker (which polls, so the queue has metrics): a state that began before it came must not
# send a new one away again.
resource "aws_cloudwatch_metric_alarm" "idle" {
  count               = local.worker ? 1 : 0
  alarm_name          = "${var.name}-scale-idle"
  alarm_description   = "No job for ${var.worker_idle_minutes} minutes, but workers: back to ${var.worker_min}"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  evaluation_periods  = var.worker_idle_minutes
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_autoscaling_policy.in[0].arn]
  tags                = var.tags

  metric_query {
    id          = "idle"
    label       = "workers without a job"
    expression  = "IF((capacity > ${var.worker_min}) AND ((visible + inflight) < 1), 1, 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = toset(["visible", "inflight"])

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/SQS"
        metric_name = local.queue_metrics[metric_query.key]
        dimensions  = { QueueName = aws_sqs_queue.jobs.name }
        stat        = "Maximum"
        period      = 60
      }
    }
  }

  metric_query {
    id = "capacity"

    metric {
      namespace   = "AWS/AutoScaling"
      metric_name = "GroupDesiredCapacity"
      dimensions  = { AutoScalingGroupName = local.group_name }
      stat        = "Minimum"
      period      = 60
    }
  }
}
