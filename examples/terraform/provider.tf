# Genesys Cloud's provider for Terraform and OpenTofu behind a gateway. An apply may take hours; no token ends in the middle.
#
# Region, client and gateway are in the environment: by gateway.env beside this file for a gateway that runs, or by
# `evergrant exec --gateway -- terraform apply`.
terraform {
  required_providers {
    genesyscloud = {
      source = "mypurecloud/genesyscloud"
    }
  }
}

provider "genesyscloud" {
  # Host, port and protocol come from GENESYSCLOUD_GATEWAY_HOST, _PORT and _PROTOCOL. The provider looks for them only if
  # this block is there; where they are not set, the block does nothing.
  gateway {}
}
