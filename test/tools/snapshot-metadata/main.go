// Command changed-blocks does in a pod what a backup application does, with the client library of external-snapshot-metadata: it asks which
// blocks of a snapshot hold data, or differ from an older snapshot, and has the library copy them from one device to another and compare
// the two as a whole. It acts as the service account of its pod.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/kubernetes-csi/external-snapshot-metadata/pkg/iterator"
	"k8s.io/client-go/rest"
)

// told counts what the service names, and hands it on.
type told struct {
	next iterator.IteratorEmitter

	Answers  int   `json:"answers"`
	Blocks   int   `json:"blocks"`
	Bytes    int64 `json:"bytes"`
	Capacity int64 `json:"capacity"`
}

func (t *told) SnapshotMetadataIteratorRecord(number int, answer iterator.IteratorMetadata) error {
	t.Answers = number
	t.Capacity = answer.VolumeCapacityBytes
	for _, block := range answer.BlockMetadata {
		t.Blocks++
		t.Bytes += block.SizeBytes
	}
	return t.next.SnapshotMetadataIteratorRecord(number, answer)
}

func (t *told) SnapshotMetadataIteratorDone(answers int) error {
	return t.next.SnapshotMetadataIteratorDone(answers)
}

func run(ctx context.Context) error {
	var args iterator.Args
	flag.StringVar(&args.Namespace, "namespace", "default", "where the VolumeSnapshots are")
	flag.StringVar(&args.SnapshotName, "snapshot", "", "the VolumeSnapshot that is asked about")
	flag.StringVar(&args.PrevSnapshotName, "previous", "", "an older VolumeSnapshot: what differs from it is asked for")
	flag.StringVar(&args.CSIDriver, "service", "", "the SnapshotMetadataService to ask, when not the one of the driver's name")
	maxResults := flag.Int("max-results", 0, "entries in an answer; 0 leaves it to the driver")
	from := flag.String("from", "", "a device restored from the snapshot")
	to := flag.String("to", "", "a device restored from the older snapshot, or a new one; it is written")
	flag.Parse()
	args.MaxResults = int32(*maxResults)

	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	if args.Clients, err = iterator.BuildClients(config); err != nil {
		return err
	}
	source, err := os.Open(*from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(*to, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer target.Close()
	counts := &told{next: &iterator.VerifierEmitter{SourceDevice: source, TargetDevice: target}}
	args.Emitter = counts
	if err := iterator.GetSnapshotMetadata(ctx, args); err != nil {
		return err
	}
	if err := target.Sync(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(counts)
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
