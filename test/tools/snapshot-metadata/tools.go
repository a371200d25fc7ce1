//go:build tools

package main

// What is built from here besides the program of this folder: the sidecar that serves changed blocks to a cluster.
import _ "github.com/kubernetes-csi/external-snapshot-metadata/cmd/csi-snapshot-metadata"
