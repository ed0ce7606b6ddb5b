package client

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decode does what json.Unmarshal does. That compiles a decoder, and an encoder, for
// every type within reach before it reads a byte, which took a command that reads one
// answer a tenth of its time. This knows plain JSON for plain types; a value of another
// kind is the library's, and an answer with anything odd in it is so as a whole: what is
// an error, and how it is worded, is for the library to say.
func decode(text []byte, out any) error {
	to := reflect.ValueOf(out)
	if to.Kind() != reflect.Pointer || to.IsNil() || !to.Elem().IsZero() {
		return json.Unmarshal(text, out) // which adds to what is there
	}
	d := decoder{text: text, shapes: map[reflect.Type]*shape{}}
	v := reflect.New(to.Type().Elem()).Elem()
	if err := d.value(v); err != nil || d.next() != 0 {
		return json.Unmarshal(text, out)
	}
	to.Elem().Set(v)
	return nil
}

// errOdd tells that a text is not plain enough.
var errOdd = errors.New("not plain JSON")

var (
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// decoder is a text and how far it was read.
type decoder struct {
	text   []byte
	at     int
	shapes map[reflect.Type]*shape
}

// shape is what there is to know of a type before a value of it is read.
type shape struct {
	foreign bool // the library reads it
	fields  []field
}

// field is a struct's field, or one of a struct that is embedded in it.
type field struct {
	name string
	path []int
}

func (d *decoder) shape(t reflect.Type) *shape {
	s := d.shapes[t]
	if s == nil {
		s = &shape{}
		d.shapes[t] = s
		if p := reflect.PointerTo(t); p.Implements(unmarshaler) || p.Implements(textUnmarshaler) {
			s.foreign = true
		} else if t.Kind() == reflect.Struct {
			s.add(t, nil)
		}
	}
	return s
}

// add takes up the fields of a struct. What has rules of its own, as two fields of one
// name do, is left to the library.
func (s *shape) add(t reflect.Type, above []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		path := append(above[:len(above):len(above)], i)
		switch {
		case f.Anonymous && tag == "" && f.Type.Kind() == reflect.Struct:
			s.add(f.Type, path)
			continue
		case f.Anonymous, options == "string":
			s.foreign = true
			continue
		case !f.IsExported(), tag == "-":
			continue
		case name == "":
			name = f.Name
		}
		for _, other := range s.fields {
			s.foreign = s.foreign || other.name == name
		}
		s.fields = append(s.fields, field{name, path})
	}
}

// next skips space and gives the byte that comes then, 0 at the end.
func (d *decoder) next() byte {
	for d.at < len(d.text) {
		switch c := d.text[d.at]; c {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return c
		}
	}
	return 0
}

// take reads a byte that may be there.
func (d *decoder) take(c byte) bool {
	if d.next() != c {
		return false
	}
	d.at++
	return true
}

// word reads null, true or false, which may be there.
func (d *decoder) word(w string) bool {
	if d.next(); !strings.HasPrefix(string(d.text[d.at:min(len(d.text), d.at+len(w))]), w) {
		return false
	}
	d.at += len(w)
	return true
}

func (d *decoder) value(v reflect.Value) error {
	s := d.shape(v.Type())
	if s.foreign {
		return d.byLibrary(v)
	}
	if d.next() == 'n' {
		if !d.word("null") {
			return errOdd
		}
		return nil // as it is, which is nil where it can be
	}
	switch v.Kind() {
	case reflect.String:
		b, err := d.string()
		v.SetString(string(b))
		return err
	case reflect.Bool:
		yes := d.word("true")
		if !yes && !d.word("false") {
			return errOdd
		}
		v.SetBool(yes)
		return nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(d.integer(), 10, v.Type().Bits())
		v.SetInt(n)
		return err
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(d.integer(), 10, v.Type().Bits())
		v.SetUint(n)
		return err
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return d.value(v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return d.byLibrary(v)
		}
		return d.list(v)
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String || d.shape(v.Type().Key()).foreign {
			return d.byLibrary(v)
		}
		return d.dict(v)
	case reflect.Struct:
		return d.object(s, v)
	}
	return d.byLibrary(v)
}

// byLibrary has the library read the next value.
func (d *decoder) byLibrary(v reflect.Value) error {
	lib := json.NewDecoder(bytes.NewReader(d.text[d.at:]))
	err := lib.Decode(v.Addr().Interface())
	d.at += int(lib.InputOffset())
	return err
}

// string reads a string. One with escapes, or that is no UTF-8, is the library's.
func (d *decoder) string() ([]byte, error) {
	if !d.take('"') {
		return nil, errOdd
	}
	from, plain := d.at, true
	for ; d.at < len(d.text); d.at++ {
		switch c := d.text[d.at]; {
		case c == '"':
			b := d.text[from:d.at]
			if d.at++; plain || utf8.Valid(b) && bytes.IndexByte(b, '\\') < 0 {
				return b, nil
			}
			var text string
			err := json.Unmarshal(d.text[from-1:d.at], &text)
			return []byte(text), err
		case c == '\\':
			plain = false
			d.at++
		case c < ' ':
			return nil, errOdd
		case c >= utf8.RuneSelf:
			plain = false
		}
	}
	return nil, errOdd
}

// integer gives the text of a number, none when JSON has it otherwise.
func (d *decoder) integer() string {
	d.next()
	from := d.at
	for d.at < len(d.text) && strings.IndexByte("-+.eE0123456789", d.text[d.at]) >= 0 {
		d.at++
	}
	text := string(d.text[from:d.at])
	if digits := strings.TrimPrefix(text, "-"); strings.HasPrefix(text, "+") || len(digits) > 1 && digits[0] == '0' {
		return ""
	}
	return text
}

// list reads an array into a slice.
func (d *decoder) list(v reflect.Value) error {
	if !d.take('[') {
		return errOdd
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	if d.take(']') {
		return nil
	}
	for n := 0; ; n++ {
		if n == v.Cap() {
			v.Grow(max(4, n))
		}
		v.SetLen(n + 1)
		if err := d.value(v.Index(n)); err != nil {
			return err
		}
		if !d.take(',') {
			break
		}
	}
	return d.end(']')
}

// end reads a byte that must be there.
func (d *decoder) end(c byte) error {
	if !d.take(c) {
		return errOdd
	}
	return nil
}

// dict reads an object into a map.
func (d *decoder) dict(v reflect.Value) error {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	t := v.Type()
	return d.members(func(key []byte) error {
		val := reflect.New(t.Elem()).Elem()
		if err := d.value(val); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(string(key)).Convert(t.Key()), val)
		return nil
	})
}

// members reads an object; each reads the value of a key.
func (d *decoder) members(each func(key []byte) error) error {
	if !d.take('{') {
		return errOdd
	}
	if d.take('}') {
		return nil
	}
	for {
		d.next()
		key, err := d.string()
		if err != nil {
			return err
		}
		if !d.take(':') {
			return errOdd
		}
		if err := each(key); err != nil {
			return err
		}
		if !d.take(',') {
			return d.end('}')
		}
	}
}

// object reads an object into a struct. Keys mostly come in the order of the fields.
func (d *decoder) object(s *shape, v reflect.Value) error {
	at := 0
	return d.members(func(key []byte) error {
		for range s.fields {
			if at == len(s.fields) {
				at = 0
			}
			f := &s.fields[at]
			at++
			if f.name == string(key) {
				return d.value(v.FieldByIndex(f.path))
			}
		}
		return errOdd // unknown, or a field's in other letters
	})
}
