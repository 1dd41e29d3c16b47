# The function: what it is told, and that its URL may be called.

variables {
  function_zip  = "tests/fixtures/function.zip"
  worker_binary = "tests/fixtures/laminix-builder"
}

provider "aws" {
  region = "eu-central-1"
}

run "by_default" {
  command = apply

  assert {
    condition = aws_lambda_function.function.environment[0].variables == tomap({
      LAMINIX_STORE      = "s3://laminix-123456789012-eu-central-1?region=eu-central-1"
      LAMINIX_QUEUE      = "sqs://sqs.eu-central-1.amazonaws.com/123456789012/laminix-jobs"
      LAMINIX_SOURCE     = "channel:nixos-25.11"
      LAMINIX_SYSTEM     = "x86_64-linux"
      LAMINIX_REFRESH    = "6h"
      LAMINIX_LOG        = "info"
      LAMINIX_LOG_FORMAT = "json"
    })
    error_message = "other variables: ${jsonencode(aws_lambda_function.function.environment[0].variables)}"
  }

  assert {
    condition = (
      aws_lambda_permission.url.action == "lambda:InvokeFunctionUrl" && aws_lambda_permission.url.principal == "*"
      && aws_lambda_permission.url.function_url_auth_type == "NONE"
    )
    error_message = "nobody may call the URL"
  }

  assert {
    condition = (
      aws_lambda_permission.invoke.action == "lambda:InvokeFunction" && aws_lambda_permission.invoke.principal == "*"
      && aws_lambda_permission.invoke.invoked_via_function_url
    )
    error_message = "nobody may invoke through the URL, which is needed since October 2025; or everybody without it"
  }

  assert {
    condition = (
      aws_lambda_function_url.function.authorization_type == "NONE"
      && aws_lambda_function_url.function.invoke_mode == "BUFFERED"
    )
    error_message = "docker signs nothing, and needs a Content-Length"
  }

  assert {
    condition = (
      aws_lambda_function.function.runtime == "provided.al2023"
      && aws_lambda_function.function.architectures == tolist(["arm64"])
      && aws_lambda_function.function.reserved_concurrent_executions == -1
    )
    error_message = "another runtime, architecture or bound"
  }

  assert {
    condition = (
      aws_lambda_function.function.logging_config[0].log_format == "JSON"
      && aws_lambda_function.function.logging_config[0].log_group == aws_cloudwatch_log_group.function.name
      && aws_cloudwatch_log_group.function.retention_in_days == 30
    )
    error_message = "logs are not JSON, or not in the group that forgets them"
  }

  assert {
    condition = (
      output.pull
      == "docker pull ${aws_lambda_function_url.function.url_id}.lambda-url.eu-central-1.on.aws/shell/git"
    )
    error_message = "nobody can type this: ${output.pull}"
  }

  assert {
    condition = output.prewarm == join(" ", [
      "aws --region eu-central-1 sqs send-message --queue-url",
      "https://sqs.eu-central-1.amazonaws.com/123456789012/laminix-jobs",
      "--message-body '{\"format\":1,\"job\":\"warm\",\"name\":\"shell/git\",\"source\":\"channel:nixos-25.11\",\"tag\":\"latest\"}'",
    ])
    error_message = "nobody can type this: ${output.prewarm}"
  }

  assert {
    condition = (
      length(aws_cloudfront_distribution.front) == 0
      && length(aws_scheduler_schedule.warm) == 0
      && length(aws_sns_topic_subscription.email) == 0
    )
    error_message = "what nobody asked for is made"
  }
}

run "as_asked" {
  command = plan

  variables {
    name                  = "other"
    function_architecture = "x86_64"
    function_concurrency  = 50
    function_environment  = { LAMINIX_HOPS = "4" }
    system                = "aarch64-linux"
    refresh               = "1h"
    alarm_email           = "somebody@example.org"
    log_retention_days    = 7
  }

  assert {
    condition = (
      aws_lambda_function.function.architectures == tolist(["x86_64"])
      && aws_lambda_function.function.reserved_concurrent_executions == 50
    )
    error_message = "the zip's architecture or the bound is ignored"
  }

  assert {
    condition = (
      output.function_environment.LAMINIX_HOPS == "4" && output.function_environment.LAMINIX_REFRESH == "1h"
      && output.function_environment.LAMINIX_SYSTEM == "aarch64-linux"
    )
    error_message = "variables are ignored"
  }

  assert {
    condition     = one(one(data.aws_ami.debian[0].filter).values) == "debian-13-arm64-*"
    error_message = "the worker is of another architecture than the images"
  }

  assert {
    condition     = aws_sns_topic_subscription.email[0].endpoint == "somebody@example.org"
    error_message = "nobody hears of alarms"
  }
}

run "a_name_of_its_own" {
  command = apply

  variables {
    domain = {
      names           = ["images.example.org", "example.org"]
      certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/c"
      zone_id         = "Z1"
    }
  }

  assert {
    condition     = output.pull == "docker pull images.example.org/shell/git"
    error_message = "the name is not told: ${output.pull}"
  }

  assert {
    condition = (
      one(aws_cloudfront_distribution.front[0].origin).domain_name
      == trimsuffix(trimprefix(output.url, "https://"), "/")
    )
    error_message = "CloudFront asks somebody else"
  }

  assert {
    condition     = one(one(aws_cloudfront_distribution.front[0].origin).custom_origin_config).origin_read_timeout == 60
    error_message = "CloudFront gives up on a request that waits"
  }

  assert {
    condition = (
      toset([for record in aws_route53_record.front : "${record.name} ${record.type}"])
      == toset(["images.example.org A", "images.example.org AAAA", "example.org A", "example.org AAAA"])
    )
    error_message = "records are missing"
  }
}

run "a_schedule" {
  command = apply

  variables {
    warm     = ["shell/git", "shell/python3"]
    warm_tag = "nixos-unstable"
  }

  assert {
    condition = toset([for one in aws_scheduler_schedule.warm : one.target[0].input]) == toset([
      for name in ["shell/git", "shell/python3"] :
      "{\"format\":1,\"job\":\"warm\",\"name\":\"${name}\",\"source\":\"channel:nixos-25.11\",\"tag\":\"nixos-unstable\"}"
    ])
    error_message = "other messages"
  }

  assert {
    condition = alltrue([for one in aws_scheduler_schedule.warm :
    one.target[0].arn == aws_sqs_queue.jobs.arn && can(regex("^[0-9a-zA-Z._-]{1,64}$", one.name))])
    error_message = "messages go elsewhere, or under names that EventBridge refuses"
  }
}
