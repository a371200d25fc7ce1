//go:build tools

// Package tools pins Kubernetes' own end-to-end tests, what runs them in parallel, and the program of the image that they use most.
package tools

import (
	_ "github.com/onsi/ginkgo/v2/ginkgo"
	_ "k8s.io/kubernetes/test/e2e"
	_ "k8s.io/kubernetes/test/images/agnhost"
)
