package client

// TLS is how a TCP connection is secured: paths of PEM files. It is spoken by
// client/secure, which not every program links.
type TLS struct {
	CA, Cert, Key string
	Verify        bool // the engine's certificate is checked
}
