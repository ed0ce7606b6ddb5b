package client

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// encode gives what json.Marshal gives. That compiles an encoder for every type within
// reach before it writes a byte, which pays when values follow one another; a command
// that sends one request, most of it empty, spends a sixth of its time on it. This
// looks at what is there and no further.
func encode(v any) ([]byte, error) {
	return appendValue(make([]byte, 0, 2<<10), reflect.ValueOf(v))
}

var (
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

func appendValue(b []byte, v reflect.Value) ([]byte, error) {
	if !v.IsValid() {
		return append(b, "null"...), nil
	}
	if t := v.Type(); t.Implements(marshaler) || t.Implements(textMarshaler) {
		return appendByLibrary(b, v)
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(b, v.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(b, v.Uint(), 10), nil
	case reflect.String:
		return appendString(b, v.String())
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		return appendValue(b, v.Elem())
	case reflect.Slice:
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return appendByLibrary(b, v)
		}
		return appendList(b, v)
	case reflect.Array:
		return appendList(b, v)
	case reflect.Map:
		return appendMap(b, v)
	case reflect.Struct:
		b, _, err := appendFields(append(b, '{'), v, true)
		return append(b, '}'), err
	}
	return appendByLibrary(b, v)
}

func appendByLibrary(b []byte, v reflect.Value) ([]byte, error) {
	text, err := json.Marshal(v.Interface())
	return append(b, text...), err
}

// appendString writes most strings as they are.
func appendString(b []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || strings.IndexByte(`"\<>&`, c) >= 0 {
			text, err := json.Marshal(s)
			return append(b, text...), err
		}
	}
	return append(append(append(b, '"'), s...), '"'), nil
}

func appendList(b []byte, v reflect.Value) (_ []byte, err error) {
	b = append(b, '[')
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendValue(b, v.Index(i)); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

func appendMap(b []byte, v reflect.Value) (_ []byte, err error) {
	if v.IsNil() {
		return append(b, "null"...), nil
	}
	if v.Type().Key().Kind() != reflect.String {
		return appendByLibrary(b, v)
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(x, y reflect.Value) int { return strings.Compare(x.String(), y.String()) })
	b = append(b, '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendString(b, k.String()); err != nil {
			return b, err
		}
		if b, err = appendValue(append(b, ':'), v.MapIndex(k)); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

// appendFields writes the fields of a struct, those of embedded ones among them; first
// tells that none was written before.
func appendFields(b []byte, v reflect.Value, first bool) (_ []byte, _ bool, err error) {
	t := v.Type()
	for i := range t.NumField() {
		f, val := t.Field(i), v.Field(i)
		tag := f.Tag.Get("json")
		if f.Anonymous && tag == "" {
			if val.Kind() == reflect.Pointer {
				if val.IsNil() {
					continue
				}
				val = val.Elem()
			}
			if b, first, err = appendFields(b, val, first); err != nil {
				return b, first, err
			}
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if !f.IsExported() || tag == "-" || options != "" && omitted(val, options) {
			continue
		}
		if name == "" {
			name = f.Name
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(append(append(b, '"'), name...), '"', ':')
		if b, err = appendValue(b, val); err != nil {
			return b, first, err
		}
	}
	return b, first, nil
}

func omitted(v reflect.Value, options string) bool {
	if options == "omitzero" {
		return v.IsZero()
	}
	switch v.Kind() {
	case reflect.Struct:
		return false // as encoding/json has it
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	}
	return v.IsZero()
}
