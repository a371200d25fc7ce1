//go:build tools

// Package tools pins the reference caller of CNI plugins.
package tools

import _ "github.com/containernetworking/cni/cnitool"
