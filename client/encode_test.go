package client

import (
	"encoding/json"
	"math/rand"
	"reflect"
	"testing"
	"testing/quick"
	"time"

	"lighter/api"
)

// TestEncode: every type that is sent comes out as encoding/json writes it.
func TestEncode(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for _, typ := range []reflect.Type{
		reflect.TypeFor[api.CreateContainer](), reflect.TypeFor[api.HostConfig](), reflect.TypeFor[api.ContainerConfig](),
		reflect.TypeFor[api.CreateExec](), reflect.TypeFor[api.StartExec](), reflect.TypeFor[api.EndpointSettings](),
	} {
		same(t, reflect.Zero(typ).Interface())
		for range 50 {
			if v, ok := quick.Value(typ, random); ok {
				same(t, v.Interface())
			}
		}
	}
	for _, v := range []any{
		nil, "<a&b>\u2028\x00\xff\"\\", []byte("x"), map[string]any{"b": 1.5, "a": []string(nil)}, time.Unix(0, 0).UTC(),
		map[string]struct{}{}, json.RawMessage(`{"x":1}`), map[int]int{1: 2}, [2]uint{3, 4}, struct{ private int }{1},
		struct {
			A time.Time `json:",omitzero"`
			B struct{}  `json:",omitempty"`
			C *int      `json:"-"`
			D []int     `json:"d,omitempty"`
		}{},
	} {
		same(t, v)
	}
	if _, err := encode(func() {}); err == nil {
		t.Error("a function was encoded")
	}
}

func same(t *testing.T, v any) {
	t.Helper()
	want, err := json.Marshal(v)
	got, err2 := encode(v)
	if err != nil || err2 != nil || string(got) != string(want) {
		t.Fatalf("%T: %v, %v\n got %s\nwant %s", v, err, err2, got, want)
	}
}
