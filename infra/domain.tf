# A name of one's own: CloudFront in front of the function's URL. Blobs do not pass through it: they come from the
# store.

locals {
  names = var.domain == null ? [] : var.domain.names
  host  = trimsuffix(trimprefix(aws_lambda_function_url.function.function_url, "https://"), "/")
}

data "aws_cloudfront_cache_policy" "off" {
  count = var.domain == null ? 0 : 1
  name  = "Managed-CachingDisabled"
}

# Kept as long as the answer itself says, and not at all if it says nothing. None of CloudFront's own policies will do:
# the one that heeds the origin sends it the client's Host header.
resource "aws_cloudfront_cache_policy" "digests" {
  count       = var.domain == null ? 0 : 1
  name        = "${var.name}-digests"
  comment     = "Laminix: what is named by its digest"
  min_ttl     = 0
  default_ttl = 0
  max_ttl     = 31536000

  parameters_in_cache_key_and_forwarded_to_origin {
    enable_accept_encoding_brotli = false
    enable_accept_encoding_gzip   = false

    cookies_config {
      cookie_behavior = "none"
    }

    headers_config {
      header_behavior = "none"
    }

    query_strings_config {
      query_string_behavior = "all"
    }
  }
}

# Lambda finds the function by the Host header, so it must be the URL's own and not the client's.
data "aws_cloudfront_origin_request_policy" "viewer" {
  count = var.domain == null ? 0 : 1
  name  = "Managed-AllViewerExceptHostHeader"
}

resource "aws_cloudfront_distribution" "front" {
  count           = var.domain == null ? 0 : 1
  enabled         = true
  comment         = "Laminix ${var.name}"
  aliases         = local.names
  http_version    = "http2and3"
  is_ipv6_enabled = true
  price_class     = "PriceClass_100"
  tags            = var.tags

  origin {
    origin_id   = "function"
    domain_name = local.host

    # requests that wait are answered after 25 s at the latest, and by the function: 60 s is well behind that
    custom_origin_config {
      http_port                = 80
      https_port               = 443
      origin_protocol_policy   = "https-only"
      origin_ssl_protocols     = ["TLSv1.2"]
      origin_read_timeout      = 60
      origin_keepalive_timeout = 60
    }
  }

  default_cache_behavior {
    target_origin_id         = "function"
    viewer_protocol_policy   = "redirect-to-https"
    allowed_methods          = ["GET", "HEAD", "OPTIONS"]
    cached_methods           = ["GET", "HEAD"]
    cache_policy_id          = data.aws_cloudfront_cache_policy.off[0].id
    origin_request_policy_id = data.aws_cloudfront_origin_request_policy.viewer[0].id
    compress                 = false # a manifest's bytes and its Content-Length are what its digest is of
  }

  # a manifest by digest is the same for ever, and its answer says so; whatever says no-store is not kept
  ordered_cache_behavior {
    path_pattern             = "/v2/*/manifests/sha256:*"
    target_origin_id         = "function"
    viewer_protocol_policy   = "redirect-to-https"
    allowed_methods          = ["GET", "HEAD", "OPTIONS"]
    cached_methods           = ["GET", "HEAD"]
    cache_policy_id          = aws_cloudfront_cache_policy.digests[0].id
    origin_request_policy_id = data.aws_cloudfront_origin_request_policy.viewer[0].id
    compress                 = false
  }

  # CloudFront would keep errors for 10 s: a client that comes again is to be heard
  dynamic "custom_error_response" {
    for_each = toset([404, 500, 502, 503, 504])

    content {
      error_code            = custom_error_response.value
      error_caching_min_ttl = 0
    }
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }

  viewer_certificate {
    acm_certificate_arn      = var.domain.certificate_arn
    ssl_support_method       = "sni-only"
    minimum_protocol_version = "TLSv1.2_2021"
  }
}

resource "aws_route53_record" "front" {
  for_each = try(var.domain.zone_id, null) == null ? {} : {
    for pair in setproduct(local.names, ["A", "AAAA"]) : "${pair[0]} ${pair[1]}" => { name = pair[0], type = pair[1] }
  }

  zone_id = var.domain.zone_id
  name    = each.value.name
  type    = each.value.type

  alias {
    name                   = aws_cloudfront_distribution.front[0].domain_name
    zone_id                = aws_cloudfront_distribution.front[0].hosted_zone_id
    evaluate_target_health = false
  }
}
