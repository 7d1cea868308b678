package agekey_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/tomo-project/backup/agekey"
)

// A server has the public key and makes backups. The private key, which age-keygen
// made, is somewhere else until one of them is to be opened.
func Example() {
	recipient, err := agekey.ParseRecipients("age1egct5ukke2aey93sxw7ug4rqa4k63jyv22uh05w0ejcyas86693q3ez7zj")
	if err != nil {
		log.Fatal(err)
	}
	var file bytes.Buffer
	w, err := recipient.Encrypt(&file)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(w, "the whole backup")
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}

	text, err := os.ReadFile("testdata/keys/x25519.txt")
	if err != nil {
		log.Fatal(err)
	}
	identity, err := agekey.ParseIdentities(text, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(identity)
	plain, err := identity.Decrypt(&file)
	if err != nil {
		log.Fatal(err)
	}
	all, err := io.ReadAll(plain)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", all)
	// Output:
	// (private key of age1egct5ukke2aey93sxw7ug4rqa4k63jyv22uh05w0ejcyas86693q3ez7zj)
	// the whole backup
}

// The data key of a snapshot is wrapped for each recipient, so that the secrets in
// it open with any of them.
func ExampleRecipient_Wrap() {
	recipient, err := agekey.ParseRecipients(`
		# the two who may restore
		age1egct5ukke2aey93sxw7ug4rqa4k63jyv22uh05w0ejcyas86693q3ez7zj
		ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMFLxfWLYgOa8803EahARI495jfU9/QWQBy0lJGwusll test`)
	if err != nil {
		log.Fatal(err)
	}
	key := []byte("0123456789abcdef0123456789abcdef")
	wrapped, err := recipient.Wrap(key)
	if err != nil {
		log.Fatal(err)
	}

	text, err := os.ReadFile("testdata/keys/ed25519")
	if err != nil {
		log.Fatal(err)
	}
	identity, err := agekey.ParseIdentities(text, nil)
	if err != nil {
		log.Fatal(err)
	}
	again, err := identity.Unwrap(wrapped)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(recipient)
	fmt.Println(bytes.Equal(again, key))
	// Output:
	// age1egct5ukke2aey93sxw7ug4rqa4k63jyv22uh05w0ejcyas86693q3ez7zj, ssh-ed25519 SHA256:4WfAyws8bevuYYxyV92vl/ij9LO+W6GFKVyWk4bXEkg
	// true
}
