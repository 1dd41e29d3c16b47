# The worker: what it is told, how many there are, that there need not be one.

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
    condition = output.worker_environment == tomap({
      LAMINIX_STORE      = "s3://laminix-123456789012-eu-central-1?region=eu-central-1"
      LAMINIX_QUEUE      = "sqs://sqs.eu-central-1.amazonaws.com/123456789012/laminix-jobs"
      LAMINIX_SOURCE     = "channel:nixos-25.11"
      LAMINIX_LOG        = "info"
      LAMINIX_LOG_FORMAT = "json"
      LAMINIX_STATE      = "/var/lib/laminix"
      LAMINIX_JOBS       = "2"
      LAMINIX_SANDBOX    = "required"
      LAMINIX_BUILD_TIME = "2h"
      LAMINIX_STATUS     = "127.0.0.1:5727"
      LAMINIX_FREE       = "20G"
      LAMINIX_DRAIN      = "90s"
    })
    error_message = "other variables: ${jsonencode(output.worker_environment)}"
  }

  assert {
    condition = alltrue([for name, value in output.worker_environment :
    strcontains(base64decode(aws_launch_template.worker[0].user_data), name)])
    error_message = "a variable does not reach the instance"
  }

  assert {
    condition = (
      strcontains(base64decode(aws_launch_template.worker[0].user_data), filesha256("tests/fixtures/laminix-builder"))
      && strcontains(base64decode(aws_launch_template.worker[0].user_data), aws_s3_object.worker[0].key)
    )
    error_message = "the instance cannot tell the right binary"
  }

  assert {
    condition = (
      startswith(filesha256("tests/fixtures/laminix-builder"), trimprefix(aws_s3_object.worker[0].key, "deploy/laminix-builder-"))
      && length(aws_s3_object.secrets) == 0
      && aws_s3_object.worker[0].bucket == output.bucket
    )
    error_message = "the binary is not where the instance looks"
  }

  assert {
    condition = (
      aws_launch_template.worker[0].metadata_options[0].http_tokens == "required"
      && aws_launch_template.worker[0].metadata_options[0].http_put_response_hop_limit == 1
    )
    error_message = "a build could ask for the role's keys"
  }

  assert {
    condition = alltrue([for device in aws_launch_template.worker[0].block_device_mappings :
    device.ebs[0].encrypted == "true" && device.ebs[0].delete_on_termination == "true"])
    error_message = "a volume is not encrypted, or stays behind"
  }

  assert {
    condition = toset([
      for rule in aws_vpc_security_group_egress_rule.worker : "${rule.ip_protocol} ${rule.from_port}-${rule.to_port}"
    ]) == toset(["tcp 443-443", "tcp 80-80", "udp 53-53", "tcp 53-53"])
    error_message = "other ports are open"
  }

  assert {
    condition     = aws_autoscaling_group.worker[0].min_size == 0 && aws_autoscaling_group.worker[0].max_size == 1
    error_message = "other bounds"
  }

  assert {
    condition = (
      aws_autoscaling_group.worker[0].mixed_instances_policy[0].instances_distribution[0].on_demand_percentage_above_base_capacity == 0
      && length(aws_autoscaling_group.worker[0].vpc_zone_identifier) == 2
    )
    error_message = "no spot instances, or not in both subnets"
  }

  # nothing happens on an alarm whose action is another policy
  assert {
    condition = (
      alltrue([for alarm in [
        aws_cloudwatch_metric_alarm.depth[0], aws_cloudwatch_metric_alarm.age[0], aws_cloudwatch_metric_alarm.wake[0],
      ] : alarm.alarm_actions == toset([aws_autoscaling_policy.out[0].arn])])
      && aws_cloudwatch_metric_alarm.idle[0].alarm_actions == toset([aws_autoscaling_policy.in[0].arn])
      && one(aws_autoscaling_policy.out[0].step_adjustment).scaling_adjustment == 1
    )
    error_message = "alarms do not scale"
  }

  assert {
    condition     = one(aws_autoscaling_policy.in[0].step_adjustment).scaling_adjustment == 0
    error_message = "idle workers stay"
  }

  assert {
    condition = (
      jsondecode(aws_sqs_queue.jobs.redrive_policy).maxReceiveCount == 5
      && jsondecode(aws_sqs_queue.jobs.redrive_policy).deadLetterTargetArn == aws_sqs_queue.dead.arn
      && aws_sqs_queue.jobs.visibility_timeout_seconds >= 60
      && aws_sqs_queue.jobs.message_retention_seconds == 345600
      && aws_sqs_queue.dead.message_retention_seconds == 1209600
    )
    error_message = "jobs are given up otherwise"
  }
}

run "as_asked" {
  command = plan

  variables {
    subnet_ids            = ["subnet-1", "subnet-2"]
    system                = "aarch64-linux"
    worker_ami            = "ami-0123456789abcdef0"
    worker_min            = 1
    worker_max            = 3
    worker_spot           = false
    worker_build_memory   = "8G"
    worker_instance_types = ["c7g.large"]
    worker_environment    = { LAMINIX_BRANCHES = "nixos-*" }
  }

  assert {
    condition = (
      length(aws_vpc.worker) == 0
      && length(data.aws_ami.debian) == 0
      && aws_autoscaling_group.worker[0].vpc_zone_identifier == toset(["subnet-1", "subnet-2"])
    )
    error_message = "subnets or image that were given are not taken"
  }

  assert {
    condition = (
      aws_autoscaling_group.worker[0].mixed_instances_policy[0].instances_distribution[0].on_demand_percentage_above_base_capacity == 100
      && [for one in aws_autoscaling_group.worker[0].mixed_instances_policy[0].launch_template[0].override : one.instance_type] == ["c7g.large"]
    )
    error_message = "other instances"
  }

  assert {
    condition = (
      output.worker_environment.LAMINIX_BUILD_MEMORY == "8G"
      && output.worker_environment.LAMINIX_BRANCHES == "nixos-*"
    )
    error_message = "variables are ignored"
  }

  assert {
    condition     = one(aws_autoscaling_policy.in[0].step_adjustment).scaling_adjustment == 1
    error_message = "the last one goes too"
  }
}

run "none" {
  command = apply

  variables {
    worker_max    = 0
    worker_binary = ""
  }

  assert {
    condition = 0 == sum([
      length(aws_autoscaling_group.worker), length(aws_launch_template.worker), length(aws_iam_role.worker),
      length(aws_vpc.worker), length(aws_security_group.worker), length(aws_s3_object.worker),
      length(aws_s3_object.secrets), length(aws_cloudwatch_log_group.worker), length(aws_cloudwatch_metric_alarm.depth),
      length(aws_cloudwatch_metric_alarm.no_worker), length(aws_cloudwatch_log_metric_filter.worker_errors),
    ])
    error_message = "something of the worker is made"
  }

  assert {
    condition = (
      length(aws_cloudwatch_metric_alarm.alarm) == 5
      && !strcontains(aws_s3_bucket_policy.store.policy, "RecordsAreTheWorkers")
    )
    error_message = "records are kept for a role that is not there"
  }
}
