package mongodb

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth"
)

// collSecrets holds the files of keys that the instances share, each under its name.
const collSecrets = "secrets"

type secretDoc struct {
	Name    string `bson:"_id"`
	Version int64  `bson:"version"`
	Content []byte `bson:"content"`
}

// Secrets implements hearth.SecretStore.
func (s *Store) Secrets(ctx context.Context) (files []hearth.SecretFile, err error) {
	err = s.do(ctx, "Secrets", func(ctx context.Context) error {
		docs, err := findAll[secretDoc](ctx, s.db.Collection(collSecrets), bson.D{})
		files = make([]hearth.SecretFile, len(docs))
		for i, d := range docs {
			files[i] = hearth.SecretFile{Name: d.Name, Version: d.Version, Content: d.Content}
		}
		return err
	})
	return files, err
}

// SetSecret implements hearth.SecretStore.
func (s *Store) SetSecret(ctx context.Context, file hearth.SecretFile) error {
	return s.do(ctx, "SetSecret", func(ctx context.Context) error {
		conflict := hearth.Errorf(hearth.CodeConflict, "the file was changed meanwhile")
		coll := s.db.Collection(collSecrets)
		if file.Version == 0 {
			_, err := coll.InsertOne(ctx, secretDoc{Name: file.Name, Version: 1, Content: file.Content})
			if isDuplicate(err) {
				return conflict
			}
			return err
		}
		result, err := coll.UpdateOne(ctx,
			bson.D{{Key: "_id", Value: file.Name}, {Key: "version", Value: file.Version}},
			bson.D{{Key: "$set", Value: bson.D{{Key: "version", Value: file.Version + 1}, {Key: "content", Value: file.Content}}}})
		if err == nil && result.MatchedCount == 0 {
			return conflict
		}
		return err
	})
}
