# A small network for the worker: two public subnets and no NAT gateway, which alone would cost more than all the rest.
# Nothing can connect in (see the security group in worker.tf). Layers go to S3 through a gateway endpoint, for nothing.

data "aws_availability_zones" "all" {
  count = local.own_network ? 1 : 0
  state = "available"

  # no Local or Wavelength Zones, which an account may have opted into
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  own_network = local.worker && length(var.subnet_ids) == 0
  subnet_ids  = local.own_network ? aws_subnet.worker[*].id : var.subnet_ids
}

resource "aws_vpc" "worker" {
  count                = local.own_network ? 1 : 0
  cidr_block           = var.vpc_cidr
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = merge(var.tags, { Name = var.name })
}

resource "aws_internet_gateway" "worker" {
  count  = local.own_network ? 1 : 0
  vpc_id = aws_vpc.worker[0].id
  tags   = merge(var.tags, { Name = var.name })
}

resource "aws_subnet" "worker" {
  count                   = local.own_network ? 2 : 0
  vpc_id                  = aws_vpc.worker[0].id
  availability_zone       = data.aws_availability_zones.all[0].names[count.index]
  cidr_block              = cidrsubnet(var.vpc_cidr, 2, count.index)
  map_public_ip_on_launch = true
  tags                    = merge(var.tags, { Name = "${var.name}-${count.index}" })
}

resource "aws_route_table" "worker" {
  count  = local.own_network ? 1 : 0
  vpc_id = aws_vpc.worker[0].id
  tags   = merge(var.tags, { Name = var.name })
}

resource "aws_route" "internet" {
  count                  = local.own_network ? 1 : 0
  route_table_id         = aws_route_table.worker[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.worker[0].id
}

resource "aws_route_table_association" "worker" {
  count          = local.own_network ? 2 : 0
  subnet_id      = aws_subnet.worker[count.index].id
  route_table_id = aws_route_table.worker[0].id
}

# It has no policy of its own: sources of packages lie in buckets that nobody can list beforehand.
resource "aws_vpc_endpoint" "s3" {
  count             = local.own_network ? 1 : 0
  vpc_id            = aws_vpc.worker[0].id
  service_name      = "com.amazonaws.${local.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.worker[0].id]
  tags              = merge(var.tags, { Name = "${var.name}-s3" })
}

# subnets that are given say themselves which network they are of
data "aws_subnet" "given" {
  count = local.worker && !local.own_network ? 1 : 0
  id    = var.subnet_ids[0]
}
