package build

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// key is all that the outcome of a vertex depends on, by names that people understand: "instruction",
// "base", "context: src/**", "build-arg FOO". Its digest finds the outcome in the cache; its parts explain a miss.
type key struct {
	parts []part
}

// part is one input of a vertex, as a digest or a short text.
type part struct {
	Name, Value string
}

// keyVersion changes when the same key would no longer mean the same files.
const keyVersion = "lighter build 1"

// add notes one more input.
func (k *key) add(name, value string) { k.parts = append(k.parts, part{name, value}) }

// addf is add of a formatted value.
func (k *key) addf(name, format string, args ...any) { k.add(name, fmt.Sprintf(format, args...)) }

// addJSON notes an input that has a shape.
func (k *key) addJSON(name string, value any) {
	text, _ := json.Marshal(value) // of our own types: it never errs
	k.add(name, string(text))
}

// digest names the key: sha256, in hex.
func (k *key) digest() string {
	text, _ := json.Marshal(k.parts) // of strings: it never errs
	h := sha256.New()
	h.Write([]byte(keyVersion))
	h.Write(text)
	return hex.EncodeToString(h.Sum(nil))
}
