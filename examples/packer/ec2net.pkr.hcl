# SPDX-License-Identifier: Apache-2.0
# A template for Packer: an image of Debian 12 with ec2net. The package enables and starts nothing on the
# build host (79-ec2net-image.preset); seal.sh enables the units for the first boot of the image.
#   packer build -var package=dist/ec2net_0.1.0-1_all.deb examples/packer/ec2net.pkr.hcl

variable "package" {
  type        = string
  description = "The deb of a release."
}

variable "region" {
  type    = string
  default = "eu-central-1"
}

locals {
  image_examples = "${path.root}/../golden-image"
}

source "amazon-ebs" "debian" {
  region        = var.region
  instance_type = "t3.small"
  ssh_username  = "admin"
  ami_name      = "debian-12-ec2net-{{timestamp}}"
  source_ami_filter {
    filters = {
      name = "debian-12-amd64-*"
    }
    owners      = ["136693071363"] # Debian
    most_recent = true
  }
}

build {
  sources = ["source.amazon-ebs.debian"]

  provisioner "file" {
    sources     = [var.package, "${local.image_examples}/79-ec2net-image.preset", "${local.image_examples}/seal.sh"]
    destination = "/tmp/"
  }

  provisioner "shell" {
    execute_command = "sudo sh -eux '{{ .Path }}'"
    inline = [
      "install -D -m 644 /tmp/79-ec2net-image.preset /etc/systemd/system-preset/79-ec2net-image.preset",
      "apt-get update",
      "DEBIAN_FRONTEND=noninteractive apt-get install --yes /tmp/ec2net_*_all.deb",
      "bash /tmp/seal.sh",
      "rm /tmp/79-ec2net-image.preset /tmp/seal.sh /tmp/ec2net_*_all.deb",
    ]
  }
}
