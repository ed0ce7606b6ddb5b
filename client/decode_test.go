package client

import (
	"encoding/json"
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"testing/quick"

	"lighter/api"
)

// TestDecode: every type that is read comes out as encoding/json reads it.
func TestDecode(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for _, typ := range []reflect.Type{
		reflect.TypeFor[[]api.ContainerSummary](), reflect.TypeFor[api.Created](), reflect.TypeFor[api.Waited](),
		reflect.TypeFor[api.Exec](), reflect.TypeFor[api.Container](), reflect.TypeFor[[]api.ImageSummary](), reflect.TypeFor[api.Info](),
	} {
		readSame(t, "{}", typ)
		readSame(t, "null", typ)
		for range 30 {
			v, ok := quick.Value(typ, random)
			if !ok {
				t.Fatalf("no values of %s", typ)
			}
			text, err := json.MarshalIndent(v.Interface(), " ", "\t")
			if err != nil {
				t.Fatal(err)
			}
			readSame(t, string(text), typ)
		}
	}
}

type decoded struct {
	A    string `json:"a"`
	N    int8
	U    uint16
	P    *int
	L    []string
	M    map[string][]int
	Any  any
	B    []byte
	F    float64
	Yes  bool
	More []decoded `json:",omitempty"`
	embedded
}

type embedded struct{ Inner string }

// TestDecodeOdd: what is not plain, or wrong, is as encoding/json has it, errors among it.
func TestDecodeOdd(t *testing.T) {
	for _, text := range []string{
		``, `{`, `{}x`, `{} `, ` { } `, `[]`, `{"a":"x"}`, `{"A":"x"}`, `{"a":"x","a":"y"}`, `{"b":1}`, `{"B":"eHg="}`, `{"B":null}`,
		`{"a":"é\n\u00e9"}`, "{\"a\":\"\xff\"}", "{\"a\":\"\n\"}", `{"a":"\q"}`, `{"a":"\`, `{"a":1}`, `{"a":null}`, `{a:1}`, `{"a" 1}`, `{"a":"x",}`,
		`{"N":-128}`, `{"N":128}`, `{"N":01}`, `{"N":-01}`, `{"N":-}`, `{"N":+1}`, `{"N":1.0}`, `{"N":1e1}`, `{"N":"1"}`, `{"N":-0}`, `{"U":-0}`, `{"U":65536}`, `{"N":1_0}`,
		`{"P":null}`, `{"P":3}`, `{"L":[]}`, `{"L":null}`, `{"L":["a","b" , "c"]}`, `{"L":["a",]}`, `{"L":["a"`, `{"L":{}}`, `{"L":["a"],"L":[]}`,
		`{"M":{}}`, `{"M":{"x":[1],"y":null,"":[]}}`, `{"M":{"x":[1]},"M":{"y":[2]}}`, `{"M":[]}`,
		`{"Any":{"x":[1,"2",null]}}`, `{"Any":}`, `{"F":1.5e3}`, `{"F":1.}`, `{"Yes":true,"N":1}`, `{"Yes":truey}`, `{"Yes":nul}`, `{"Inner":"x"}`,
		`{"More":[{"a":"x","More":[{}]},{}]}`, strings.Repeat(`{"More":[`, 20000), `{"Any":` + strings.Repeat(`[`, 20000),
	} {
		readSame(t, text, reflect.TypeFor[decoded]())
	}
	full := decoded{A: "x", M: map[string][]int{"x": nil}}
	if err := decode([]byte(`{"N":1,"M":{"y":null}}`), &full); err != nil || full.A != "x" || len(full.M) != 2 {
		t.Errorf("added to what was there: %+v, %v", full, err)
	}
}

func readSame(t *testing.T, text string, typ reflect.Type) {
	t.Helper()
	want, got := reflect.New(typ), reflect.New(typ)
	err, err2 := json.Unmarshal([]byte(text), want.Interface()), decode([]byte(text), got.Interface())
	if !reflect.DeepEqual(want.Interface(), got.Interface()) || (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
		t.Fatalf("%s from %.200s\n got %.500v, %v\nwant %.500v, %v", typ, text, got.Elem(), err2, want.Elem(), err)
	}
}

func BenchmarkDecode2000(b *testing.B) {
	list := make([]api.ContainerSummary, 2000)
	for i := range list {
		list[i] = api.ContainerSummary{ID: strings.Repeat("a", 64), Names: []string{"/name"}, Image: "busybox", ImageID: strings.Repeat("b", 71), Command: "sleep 1", State: "exited", Status: "Exited (0) 3 minutes ago"}
	}
	text, err := json.Marshal(list)
	if err != nil {
		b.Fatal(err)
	}
	for _, one := range []struct {
		name string
		do   func([]byte, any) error
	}{{"ours", decode}, {"library", json.Unmarshal}} {
		b.Run(one.name, func(b *testing.B) {
			for b.Loop() {
				var v []api.ContainerSummary
				if err := one.do(text, &v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
