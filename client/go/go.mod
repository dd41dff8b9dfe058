module hearth/client/go

go 1.24
