terraform {
  # 1.9: validation of a variable may look at another one
  required_version = ">= 1.9"

  required_providers {
    # 6.29 is the first that can say invoked_via_function_url (see function.tf)
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.45"
    }
  }
}
