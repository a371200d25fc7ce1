//go:build tools

// Package tools pins the OCI runtime that fits the pinned containerd.
package tools

import _ "github.com/opencontainers/runc"
