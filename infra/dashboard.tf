# One page that shows whether pulls are answered, from what, and whether the worker keeps up.

locals {
  # a row of the page is a list of [title, unit of the axis, statistic, metrics]
  dashboard_rows = [
    [
      ["Pulls by outcome", "per minute", "Sum", [for name in ["Warm", "Composed", "Waited", "Refused", "Failed"] :
      ["Laminix", name, "Function", var.name]]],
      ["Time of an answer", "ms", "p99", [
        ["Laminix", "Duration", "Function", var.name, { stat = "p50", label = "Duration p50" }],
        ["Laminix", "Duration", "Function", var.name, { label = "Duration p99" }],
        ["AWS/Lambda", "Duration", "FunctionName", var.name, { stat = "Maximum", label = "Lambda, longest" }],
      ]],
      ["Calls to the store", "per minute", "Sum", [["Laminix", "StoreCalls", "Function", var.name]]],
    ],
    [
      ["What clients see", "per minute", "Sum", [for name in ["UrlRequestCount", "Url4xxCount", "Url5xxCount"] :
      ["AWS/Lambda", name, "FunctionName", var.name]]],
      ["Trouble of the function", "per minute", "Sum", [for name in ["Errors", "Throttles"] :
      ["AWS/Lambda", name, "FunctionName", var.name]]],
      ["Invocations at once", "", "Maximum", [["AWS/Lambda", "ConcurrentExecutions", "FunctionName", var.name]]],
    ],
    [
      ["Jobs", "", "Maximum", [
        ["AWS/SQS", local.queue_metrics.visible, "QueueName", local.jobs_name, { label = "waiting" }],
        ["AWS/SQS", local.queue_metrics.inflight, "QueueName", local.jobs_name, { label = "being done" }],
        ["AWS/SQS", local.queue_metrics.visible, "QueueName", local.dead_name, { label = "given up" }],
      ]],
      ["Age of the oldest job", "s", "Maximum", [["AWS/SQS", local.queue_metrics.age, "QueueName", local.jobs_name]]],
      ["Workers", "", "Maximum", [for name in ["GroupDesiredCapacity", "GroupInServiceInstances"] :
      ["AWS/AutoScaling", name, "AutoScalingGroupName", local.group_name]]],
    ],
  ]
}

resource "aws_cloudwatch_dashboard" "laminix" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = flatten([for y, row in local.dashboard_rows : [for x, widget in row : {
      type   = "metric"
      x      = x * 8
      y      = y * 6
      width  = 8
      height = 6
      properties = {
        title   = widget[0]
        region  = local.region
        period  = 60
        stat    = widget[2]
        metrics = widget[3]
        yAxis   = { left = { min = 0, label = widget[1] } }
      }
    }]])
  })
}
