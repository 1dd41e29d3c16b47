# The request function and its URL.

locals {
  # what both sides have to know; the function's and the worker's own are beside them
  shared_environment = {
    LAMINIX_STORE      = local.store_here ? "s3://${local.bucket}?region=${local.region}" : var.store_url
    LAMINIX_QUEUE      = replace(aws_sqs_queue.jobs.url, "https://", "sqs://")
    LAMINIX_SOURCE     = var.package_source
    LAMINIX_LOG        = var.log_level
    LAMINIX_LOG_FORMAT = "json"
  }

  function_plain = merge(
    local.shared_environment,
    {
      LAMINIX_SYSTEM  = var.system
      LAMINIX_REFRESH = var.refresh
    },
    var.function_environment,
  )

  # the names are no secret; so a plan still shows all the other values
  function_environment = merge(local.function_plain, {
    for name in nonsensitive(keys(var.store_secrets.function)) : name => var.store_secrets.function[name]
  })
}

# made here and not by Lambda, whose own would be kept for ever
resource "aws_cloudwatch_log_group" "function" {
  name              = local.function_log
  retention_in_days = var.log_retention_days
  tags              = var.tags
}

resource "aws_lambda_function" "function" {
  function_name    = var.name
  description      = "Laminix: composes container images from records of Nix packages"
  role             = aws_iam_role.function.arn
  filename         = var.function_zip
  source_code_hash = filebase64sha256(var.function_zip)
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.function_architecture]
  memory_size      = var.function_memory
  timeout          = var.function_timeout

  # -1 is Lambda's word for: as many as the account has
  reserved_concurrent_executions = var.function_concurrency
  tags                           = var.tags

  environment {
    variables = local.function_environment
  }

  logging_config {
    log_format       = "JSON"
    log_group        = aws_cloudwatch_log_group.function.name
    system_log_level = "WARN"
    # LAMINIX_LOG decides; Lambda would drop all below INFO
    application_log_level = "TRACE"
  }

  # without its policy the first invocations fail
  depends_on = [aws_iam_role_policy.function]
}

# docker cannot sign requests for AWS, so the URL is open. BUFFERED: in the other mode Lambda sends no Content-Length,
# and containerd refuses manifests without one.
resource "aws_lambda_function_url" "function" {
  function_name      = aws_lambda_function.function.function_name
  authorization_type = "NONE"
  invoke_mode        = "BUFFERED"
}

# A URL that was made since October 2025 needs both: the second one for what is called through the URL only.
resource "aws_lambda_permission" "url" {
  statement_id           = "FunctionUrl"
  action                 = "lambda:InvokeFunctionUrl"
  function_name          = aws_lambda_function.function.function_name
  principal              = "*"
  function_url_auth_type = "NONE"
}

resource "aws_lambda_permission" "invoke" {
  statement_id             = "FunctionUrlInvoke"
  action                   = "lambda:InvokeFunction"
  function_name            = aws_lambda_function.function.function_name
  principal                = "*"
  invoked_via_function_url = true
}
