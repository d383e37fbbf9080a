// Package webpubsubpb is the generated code of webpubsub.proto.
//
// To change it, install protoc and
//
//	go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
//
// then run go generate in this folder.
package webpubsubpb

//go:generate protoc --go_out=. --go_opt=paths=source_relative webpubsub.proto
