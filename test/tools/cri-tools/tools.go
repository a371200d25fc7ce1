//go:build tools

// Package tools pins the command line client and the conformance suite of CRI.
package tools

import (
	_ "sigs.k8s.io/cri-tools/cmd/critest"
	_ "sigs.k8s.io/cri-tools/cmd/crictl"
)
