// Command descriptors answers questions about the reference Go modules of the protocols that Keelson speaks.
//
//	descriptors describe           prints every message, enum and service with its numbers, as JSON
//	descriptors samples            prints filled messages of every type: encoded, and as proto3 JSON
//	descriptors check < ANSWERS    decodes what others made of the samples; prints the indices that differ
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/container-storage-interface/spec/lib/go/csi"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

var files = map[string]protoreflect.FileDescriptor{
	"csi":                csi.File_csi_proto,
	"cri":                cri.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto,
	"pluginregistration": registration.File_staging_src_k8s_io_kubelet_pkg_apis_pluginregistration_v1_api_proto,
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "descriptors:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one of describe, samples, check")
	}
	switch args[0] {
	case "describe":
		apis := map[string]*api{}
		for name, file := range files {
			apis[name] = describe(file)
		}
		return json.NewEncoder(os.Stdout).Encode(apis)
	case "samples":
		list, err := samples()
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(list)
	case "check":
		return check()
	}
	return fmt.Errorf("unknown command %q", args[0])
}

type sample struct {
	API     string          `json:"api"`
	Message string          `json:"message"`
	Bytes   []byte          `json:"bytes"`
	JSON    json.RawMessage `json:"json"`
	value   proto.Message
}

func samples() ([]sample, error) {
	var list []sample
	for _, name := range []string{"csi", "cri", "pluginregistration"} {
		for i := range files[name].Messages().Len() {
			message := files[name].Messages().Get(i)
			for variant := range variantsOf(message) {
				value := fill(message, variant, nil)
				encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(value)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", message.FullName(), err)
				}
				text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(value)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", message.FullName(), err)
				}
				list = append(list, sample{name, string(message.FullName()), encoded, text, value})
			}
		}
	}
	return list, nil
}

type difference struct {
	Index  int    `json:"index"`
	Reason string `json:"reason"`
}

// check reads one encoded message per sample, in the order of samples.
func check() error {
	var answers [][]byte
	if err := json.NewDecoder(os.Stdin).Decode(&answers); err != nil {
		return err
	}
	list, err := samples()
	if err != nil {
		return err
	}
	if len(answers) != len(list) {
		return fmt.Errorf("%d answers to %d samples", len(answers), len(list))
	}
	differences := []difference{}
	for index, want := range list {
		got := want.value.ProtoReflect().New().Interface()
		if err := proto.Unmarshal(answers[index], got); err != nil {
			differences = append(differences, difference{index, err.Error()})
		} else if !proto.Equal(want.value, got) {
			differences = append(differences, difference{index, protojson.Format(got)})
		}
	}
	return json.NewEncoder(os.Stdout).Encode(differences)
}
