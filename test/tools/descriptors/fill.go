package main

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// variantsOf is how many samples it takes to choose each field of the message's oneofs once.
func variantsOf(descriptor protoreflect.MessageDescriptor) int {
	most := 1
	for i := range descriptor.Oneofs().Len() {
		most = max(most, descriptor.Oneofs().Get(i).Fields().Len())
	}
	return most
}

// fill sets every field to something that is not its default, all the way down; values are extreme where that can hurt.
// `above` holds the messages around this one, so that a message inside of itself ends.
func fill(
	descriptor protoreflect.MessageDescriptor, variant int, above []protoreflect.FullName,
) proto.Message {
	built := dynamicpb.NewMessage(descriptor)
	inside := append(slices.Clone(above), descriptor.FullName())
	for i := range descriptor.Fields().Len() {
		f := descriptor.Fields().Get(i)
		if oneof := f.ContainingOneof(); oneof != nil && oneof.Fields().Get(variant%oneof.Fields().Len()) != f {
			continue
		}
		if f.Message() != nil && !f.IsMap() && slices.Contains(inside, f.Message().FullName()) {
			continue
		}
		switch {
		case f.IsMap():
			entries := built.Mutable(f).Map()
			for n := range 2 {
				key := protoreflect.ValueOfString(fmt.Sprintf("%s/%d", f.Name(), n)).MapKey()
				entries.Set(key, valueOf(f.MapValue(), n, variant, inside))
			}
		case f.IsList():
			list := built.Mutable(f).List()
			for n := range 2 {
				list.Append(valueOf(f, n, variant, inside))
			}
		default:
			built.Set(f, valueOf(f, int(f.Number()), variant, inside))
		}
	}
	return built
}

func valueOf(
	f protoreflect.FieldDescriptor, n int, variant int, inside []protoreflect.FullName,
) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(fmt.Sprintf("%s %d ü", f.Name(), n))
	case protoreflect.BytesKind:
		// No UTF-8, on purpose.
		return protoreflect.ValueOfBytes([]byte{0xff, 0x00, 0xc3, byte(n)})
	case protoreflect.Int32Kind:
		if f.FullName() == "google.protobuf.Timestamp.nanos" {
			return protoreflect.ValueOfInt32(123456789)
		}
		return protoreflect.ValueOfInt32(-1<<31 + int32(n))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1<<32 - 1 - uint32(n))
	case protoreflect.Int64Kind:
		if f.FullName() == "google.protobuf.Timestamp.seconds" {
			return protoreflect.ValueOfInt64(1_800_000_000)
		}
		// Beyond what a double can hold.
		return protoreflect.ValueOfInt64(-1<<63 + 1 + int64(n))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1<<64 - 1 - uint64(n))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n) + 0.1)
	case protoreflect.EnumKind:
		values := f.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(1 + (n+variant)%(values.Len()-1)).Number())
	case protoreflect.MessageKind:
		return protoreflect.ValueOfMessage(fill(f.Message(), variant, inside).ProtoReflect())
	}
	panic(fmt.Sprintf("no value for a field of kind %s: %s", f.Kind(), f.FullName()))
}
