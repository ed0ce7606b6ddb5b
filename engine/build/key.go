package build

// key is all that the outcome of a vertex depends on, by names that people understand: "instruction",
// "base", "context: src/**", "build-arg FOO". Its digest finds the outcome in the cache; its parts explain a miss.
type key struct {
	parts []part
}

// part is one input of a vertex, as a digest or a short text.
type part struct {
	Name, Value string
}
