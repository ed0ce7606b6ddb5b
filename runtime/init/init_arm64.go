package tiny

import _ "embed"

//go:embed init-arm64
var program []byte
