package main

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

type api struct {
	Package  string             `json:"package"`
	Messages map[string]message `json:"messages"`
	Enums    map[string]enum    `json:"enums"`
	Services map[string]service `json:"services"`
}

type message struct {
	Alpha    bool             `json:"alpha"`
	Fields   map[string]field `json:"fields"`
	Oneofs   []string         `json:"oneofs"`
	Reserved [][2]int         `json:"reserved"`
}

type field struct {
	Number     int    `json:"number"`
	Label      string `json:"label"`
	Type       string `json:"type"`
	KeyType    string `json:"keyType,omitempty"`
	JSONName   string `json:"jsonName"`
	Oneof      string `json:"oneof,omitempty"`
	Packed     bool   `json:"packed"`
	Secret     bool   `json:"secret"`
	Alpha      bool   `json:"alpha"`
	Deprecated bool   `json:"deprecated"`
}

type enum struct {
	Alpha    bool           `json:"alpha"`
	Values   map[string]int `json:"values"`
	Alphas   []string       `json:"alphas"`
	Reserved [][2]int       `json:"reserved"`
}

type service struct {
	Alpha   bool              `json:"alpha"`
	Methods map[string]method `json:"methods"`
}

type method struct {
	Input           string `json:"input"`
	Output          string `json:"output"`
	ClientStreaming bool   `json:"clientStreaming"`
	ServerStreaming bool   `json:"serverStreaming"`
	Alpha           bool   `json:"alpha"`
}

func describe(file protoreflect.FileDescriptor) *api {
	found := &api{
		Package:  string(file.Package()),
		Messages: map[string]message{},
		Enums:    map[string]enum{},
		Services: map[string]service{},
	}
	found.addEnums(file.Enums())
	for _, descriptor := range messagesOf(file.Messages()) {
		found.Messages[string(descriptor.FullName())] = describeMessage(descriptor)
		found.addEnums(descriptor.Enums())
	}
	for i := range file.Services().Len() {
		descriptor := file.Services().Get(i)
		methods := map[string]method{}
		for j := range descriptor.Methods().Len() {
			m := descriptor.Methods().Get(j)
			methods[string(m.Name())] = method{
				Input:           string(m.Input().FullName()),
				Output:          string(m.Output().FullName()),
				ClientStreaming: m.IsStreamingClient(),
				ServerStreaming: m.IsStreamingServer(),
				Alpha:           proto.GetExtension(m.Options(), csi.E_AlphaMethod).(bool),
			}
		}
		found.Services[string(descriptor.FullName())] = service{
			Alpha:   proto.GetExtension(descriptor.Options(), csi.E_AlphaService).(bool),
			Methods: methods,
		}
	}
	return found
}

// messagesOf lists messages and the messages inside of them, without the entries of maps.
func messagesOf(descriptors protoreflect.MessageDescriptors) []protoreflect.MessageDescriptor {
	var list []protoreflect.MessageDescriptor
	for i := range descriptors.Len() {
		descriptor := descriptors.Get(i)
		if descriptor.IsMapEntry() {
			continue
		}
		list = append(list, descriptor)
		list = append(list, messagesOf(descriptor.Messages())...)
	}
	return list
}

func describeMessage(descriptor protoreflect.MessageDescriptor) message {
	found := message{
		Alpha:    proto.GetExtension(descriptor.Options(), csi.E_AlphaMessage).(bool),
		Fields:   map[string]field{},
		Oneofs:   []string{},
		Reserved: [][2]int{},
	}
	for i := range descriptor.Oneofs().Len() {
		found.Oneofs = append(found.Oneofs, string(descriptor.Oneofs().Get(i).Name()))
	}
	for i := range descriptor.ReservedRanges().Len() {
		r := descriptor.ReservedRanges().Get(i)
		// The end of a message's range is exclusive, unlike that of an enum's.
		found.Reserved = append(found.Reserved, [2]int{int(r[0]), int(r[1]) - 1})
	}
	for i := range descriptor.Fields().Len() {
		f := descriptor.Fields().Get(i)
		options := f.Options().(*descriptorpb.FieldOptions)
		described := field{
			Number:     int(f.Number()),
			Label:      "optional",
			Type:       typeOf(f),
			JSONName:   f.JSONName(),
			Packed:     f.IsPacked(),
			Secret:     proto.GetExtension(options, csi.E_CsiSecret).(bool) || options.GetDebugRedact(),
			Alpha:      proto.GetExtension(options, csi.E_AlphaField).(bool),
			Deprecated: options.GetDeprecated(),
		}
		if f.IsMap() {
			described.Label = "map"
			described.KeyType = typeOf(f.MapKey())
			described.Type = typeOf(f.MapValue())
		} else if f.IsList() {
			described.Label = "repeated"
		}
		if oneof := f.ContainingOneof(); oneof != nil {
			described.Oneof = string(oneof.Name())
		}
		found.Fields[string(f.Name())] = described
	}
	return found
}

func typeOf(f protoreflect.FieldDescriptor) string {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return string(f.Message().FullName())
	case protoreflect.EnumKind:
		return string(f.Enum().FullName())
	}
	return f.Kind().String()
}

func (found *api) addEnums(descriptors protoreflect.EnumDescriptors) {
	for i := range descriptors.Len() {
		descriptor := descriptors.Get(i)
		described := enum{
			Alpha:    proto.GetExtension(descriptor.Options(), csi.E_AlphaEnum).(bool),
			Values:   map[string]int{},
			Alphas:   []string{},
			Reserved: [][2]int{},
		}
		for j := range descriptor.Values().Len() {
			value := descriptor.Values().Get(j)
			described.Values[string(value.Name())] = int(value.Number())
			if proto.GetExtension(value.Options(), csi.E_AlphaEnumValue).(bool) {
				described.Alphas = append(described.Alphas, string(value.Name()))
			}
		}
		for j := range descriptor.ReservedRanges().Len() {
			r := descriptor.ReservedRanges().Get(j)
			described.Reserved = append(described.Reserved, [2]int{int(r[0]), int(r[1])})
		}
		found.Enums[string(descriptor.FullName())] = described
	}
}
