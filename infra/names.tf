# Names are worked out here and not left to AWS, so that the policies are known in a plan: what can be read before it is
# done can be refused before it is done.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.region

  # names of buckets are one space for the whole world
  bucket     = var.bucket != "" ? var.bucket : "${var.name}-${local.account}-${local.region}"
  bucket_arn = "arn:${local.partition}:s3:::${local.bucket}"

  jobs_name     = "${var.name}-jobs"
  dead_name     = "${var.name}-dead"
  jobs_arn      = "arn:${local.partition}:sqs:${local.region}:${local.account}:${local.jobs_name}"
  dead_arn      = "arn:${local.partition}:sqs:${local.region}:${local.account}:${local.dead_name}"
  role_arn      = "arn:${local.partition}:iam::${local.account}:role"
  log_group_arn = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group"

  function_log = "/aws/lambda/${var.name}"
  worker_log   = "/laminix/${var.name}/worker"
  group_name   = "${var.name}-worker"

  # objects may live elsewhere (see gcs/); the bucket is there all the same, for what the worker starts from
  store_here = var.store_url == ""
  worker     = var.worker_max > 0
}
