locals {
  # where clients go: one's own name, if there is one
  address = length(local.names) > 0 ? local.names[0] : local.host

  sqs     = "aws --region ${local.region} sqs"
  console = "https://${local.region}.console.aws.amazon.com/cloudwatch/home?region=${local.region}"
}

output "pull" {
  description = "What to type next."
  value       = "docker pull ${local.address}/shell/git"
}

output "prewarm" {
  description = "Makes an image ready before anybody asks for it."
  value = join(" ", [
    "${local.sqs} send-message --queue-url ${aws_sqs_queue.jobs.url}",
    "--message-body '${jsonencode(merge(local.warm_job, { name = "shell/git" }))}'",
  ])
}

output "logs" {
  description = "What the function and the worker say."
  value = {
    function = "aws logs tail ${local.function_log} --region ${local.region} --follow"
    worker   = local.worker ? "aws logs tail ${local.worker_log} --region ${local.region} --follow" : ""
  }
}

output "dead_letters" {
  description = "Shows jobs that were given up, and sends them round again."
  value = {
    show = join(" ", [
      "${local.sqs} receive-message --queue-url ${aws_sqs_queue.dead.url} --max-number-of-messages 10",
      "--message-attribute-names reason",
    ])
    # the way back has to be named: SQS knows it only of messages that it has moved itself
    redrive = join(" ", [
      "${local.sqs} start-message-move-task --source-arn ${aws_sqs_queue.dead.arn}",
      "--destination-arn ${aws_sqs_queue.jobs.arn}",
    ])
  }
}

output "dashboard" {
  description = "The page that shows how it is doing."
  value       = "${local.console}#dashboards/dashboard/${var.name}"
}

output "url" {
  description = "The function's own URL."
  value       = aws_lambda_function_url.function.function_url
}

output "bucket" {
  description = "The bucket's name."
  value       = aws_s3_bucket.store.bucket
}

output "queue" {
  description = "The URL of the queue of jobs."
  value       = aws_sqs_queue.jobs.url
}

output "alarms" {
  description = "The SNS topic that the alarms go to."
  value       = aws_sns_topic.alarms.arn
}

output "function_environment" {
  description = "The function's variables, without secrets: to run the same elsewhere."
  value       = local.function_plain
}

output "worker_environment" {
  description = "The worker's variables, without secrets."
  value       = local.worker ? local.worker_environment : {}
}
