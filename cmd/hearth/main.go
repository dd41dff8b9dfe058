// Command hearth is a self-hosted backend for smart devices: one program on one machine, or many of it over shared stores.
package main

import (
	"os"

	"hearth/internal/cli"
)

func main() { os.Exit(cli.Main()) }
