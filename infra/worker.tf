# The Nix builder: instances that come when there are jobs and go when there are none (see scaling.tf).

locals {
  architecture = { x86_64-linux = "amd64", aarch64-linux = "arm64" }[var.system]

  # several kinds, so that spot has somewhere to go
  instance_types = length(var.worker_instance_types) > 0 ? var.worker_instance_types : {
    amd64 = ["c7i.xlarge", "c6i.xlarge", "m7i.xlarge", "m6i.xlarge"]
    arm64 = ["c7g.xlarge", "c6g.xlarge", "m7g.xlarge", "m6g.xlarge"]
  }[local.architecture]

  # the name changes with the content: an instance that starts during a change still finds what it was told to fetch
  artifact_key = local.worker ? "deploy/laminix-builder-${substr(local.worker_sha256, 0, 16)}" : ""
  secrets_key  = "deploy/worker.env"

  worker_environment = merge(
    local.shared_environment,
    {
      LAMINIX_STATE      = "/var/lib/laminix"
      LAMINIX_JOBS       = tostring(var.worker_jobs)
      LAMINIX_SANDBOX    = "required"
      LAMINIX_BUILD_TIME = var.worker_build_time
      LAMINIX_STATUS     = "127.0.0.1:5727"
      LAMINIX_FREE       = var.worker_free
      LAMINIX_DRAIN      = "90s" # of the 120 s that spot gives
    },
    var.worker_build_memory == "" ? {} : { LAMINIX_BUILD_MEMORY = var.worker_build_memory },
    var.worker_environment,
  )

  # of a map that is secret even the number of entries is; that there are some is not
  worker_secrets = local.worker && nonsensitive(length(var.store_secrets.worker) > 0)

  # null where there is none: a path that does not exist is refused by the variable's validation
  worker_sha256 = local.worker ? filesha256(var.worker_binary) : null

  user_data = !local.worker ? "" : templatefile("${path.module}/worker/cloud-init.yaml", {
    region          = local.region
    bucket          = local.bucket
    artifact_key    = local.artifact_key
    artifact_sha256 = local.worker_sha256
    environment     = local.worker_environment
    secrets_key     = local.worker_secrets ? local.secrets_key : ""
    group           = local.group_name
    log_group       = local.worker_log
    unit            = file("${path.module}/worker/laminix-builder.service")
    guard           = file("${path.module}/worker/laminix-guard")
    guard_unit      = file("${path.module}/worker/laminix-guard.service")
    volume          = "/dev/sdf"
  })
}

resource "aws_s3_object" "worker" {
  count       = local.worker ? 1 : 0
  bucket      = aws_s3_bucket.store.id
  key         = local.artifact_key
  source      = var.worker_binary
  source_hash = local.worker_sha256
  tags        = var.tags

  depends_on = [aws_s3_bucket_server_side_encryption_configuration.store]

  lifecycle {
    create_before_destroy = true
  }
}

# User data can be read by everybody who may describe launch templates, so keys do not go there: they lie beside the
# binary, where only the worker's role reads.
resource "aws_s3_object" "secrets" {
  count  = local.worker_secrets ? 1 : 0
  bucket = aws_s3_bucket.store.id
  key    = local.secrets_key
  content = join("", [
    # as systemd reads it: within quotes a line end is one, and only these two have to be escaped
    for name, value in var.store_secrets.worker : "${name}=\"${replace(replace(value, "\\", "\\\\"), "\"", "\\\"")}\"\n"
  ])
  tags = var.tags

  depends_on = [aws_s3_bucket_server_side_encryption_configuration.store]
}

resource "aws_cloudwatch_log_group" "worker" {
  count             = local.worker ? 1 : 0
  name              = local.worker_log
  retention_in_days = var.log_retention_days
  tags              = var.tags
}

# 13: the Nix of Debian 12 (2.8) cannot read package sets from 2025-11 on, which need 2.18
data "aws_ami" "debian" {
  count       = local.worker && var.worker_ami == "" ? 1 : 0
  owners      = ["136693071363"] # Debian's account, https://wiki.debian.org/Cloud/AmazonEC2Image
  most_recent = true

  filter {
    name   = "name"
    values = ["debian-13-${local.architecture}-*"]
  }
}

resource "aws_security_group" "worker" {
  count       = local.worker ? 1 : 0
  name        = "${var.name}-worker"
  description = "Laminix worker: out to the web and to name servers, nothing in"
  vpc_id      = local.own_network ? aws_vpc.worker[0].id : data.aws_subnet.given[0].vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-worker" })
}

resource "aws_vpc_security_group_egress_rule" "worker" {
  for_each = !local.worker ? {} : {
    https   = { port = 443, protocol = "tcp" }
    http    = { port = 80, protocol = "tcp" }
    dns     = { port = 53, protocol = "udp" }
    dns-tcp = { port = 53, protocol = "tcp" }
  }

  security_group_id = aws_security_group.worker[0].id
  description       = each.key
  cidr_ipv4         = "0.0.0.0/0"
  from_port         = each.value.port
  to_port           = each.value.port
  ip_protocol       = each.value.protocol
  tags              = var.tags
}

resource "aws_launch_template" "worker" {
  count                                = local.worker ? 1 : 0
  name                                 = "${var.name}-worker"
  description                          = "Laminix worker"
  image_id                             = var.worker_ami != "" ? var.worker_ami : data.aws_ami.debian[0].id
  instance_type                        = local.instance_types[0]
  instance_initiated_shutdown_behavior = "terminate"
  update_default_version               = true
  user_data                            = base64encode(local.user_data)
  vpc_security_group_ids               = [aws_security_group.worker[0].id]
  tags                                 = var.tags

  iam_instance_profile {
    arn = aws_iam_instance_profile.worker[0].arn
  }

  # the role's keys are there: only with a token, and not from a network namespace behind this host's
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = 16
      encrypted             = true
      delete_on_termination = true
    }
  }

  # /nix: what it holds can be made anew, so it goes with its instance
  block_device_mappings {
    device_name = "/dev/sdf"

    ebs {
      volume_type           = "gp3"
      volume_size           = var.worker_volume_size
      throughput            = 250
      encrypted             = true
      delete_on_termination = true
    }
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume"])

    content {
      resource_type = tag_specifications.value
      tags          = merge(var.tags, { Name = "${var.name}-worker" })
    }
  }

  lifecycle {
    precondition {
      condition     = length(local.user_data) <= 16384
      error_message = "EC2 takes 16 KiB of user data; these are ${length(local.user_data)} bytes."
    }
  }
}

resource "aws_autoscaling_group" "worker" {
  count                     = local.worker ? 1 : 0
  name                      = local.group_name
  min_size                  = var.worker_min
  max_size                  = var.worker_max
  vpc_zone_identifier       = local.subnet_ids
  health_check_type         = "EC2"
  health_check_grace_period = 300
  wait_for_capacity_timeout = "0"

  # an instance at work is protected from scaling in, and destroying must not wait for its work
  force_delete = true

  # the alarms in scaling.tf read these
  enabled_metrics = ["GroupDesiredCapacity", "GroupInServiceInstances"]

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = 0
      on_demand_percentage_above_base_capacity = var.worker_spot ? 0 : 100
      spot_allocation_strategy                 = "price-capacity-optimized"
    }

    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.worker[0].id
        version            = aws_launch_template.worker[0].latest_version
      }

      dynamic "override" {
        for_each = local.instance_types

        content {
          instance_type = override.value
        }
      }
    }
  }

  # a new binary or image comes to those that idle at once, and to those at work when they are done
  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage       = 0
      scale_in_protected_instances = "Wait"
    }
  }

  dynamic "tag" {
    for_each = merge(var.tags, { Name = "${var.name}-worker" })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = false # the launch template has done that, for volumes too
    }
  }

  lifecycle {
    ignore_changes = [desired_capacity]
  }

  # an instance starts by fetching its binary, and logs from then on
  depends_on = [
    aws_cloudwatch_log_group.worker,
    aws_iam_role_policy.worker,
    aws_route.internet,
    aws_s3_object.secrets,
    aws_s3_object.worker,
  ]
}
