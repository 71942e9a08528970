# The firmware example: a network, a board, pictures; under QEMU and on this machine.
#   FIRMWARE_MODEL=FILE  a .kde file, or a trained model, which is quantised first
#   FIRMWARE_DATA=NAME   by pictures of this data, as kd export --calibrate names it [KD_DATA's CIFAR-10]
#   BOARD=m0|m3|m4|m7|m33|m55
BOARD ?= m4
FIRMWARE_MODEL ?= $(firstword $(wildcard examples/models/*.kde))

.PHONY: firmware-demo
firmware-demo: deps ## a Cortex-M's firmware built, run under QEMU, its logits beside this machine's: BOARD=m4 FIRMWARE_MODEL=FILE
	@sh .ci/deps.sh edge
	+@$(again) $(parallel) build/bin/kd
	@sh examples/firmware/demo.sh $(BOARD) $(FIRMWARE_MODEL)
