// Package s3location keeps backups in a bucket of S3, or of a service that speaks
// its protocol: a [location.Location].
//
//	cfg, err := config.LoadDefaultConfig(ctx) // of aws-sdk-go-v2/config
//	m.Locations = append(m.Locations, &s3location.Location{
//		Client: s3.NewFromConfig(cfg), Bucket: "example-backups", Prefix: "tomo",
//	})
//
// Region, endpoint, credentials, path-style addresses and how often a request is
// tried again are the matter of the client.
//
// # What the service must do
//
// It must honour If-None-Match: * where an object is put, as S3 does, or a backup
// could overwrite another. The first file that fits into one request is put twice
// to see that the second is refused; if it is not, Put removes the file and
// returns an error that wraps errors.ErrUnsupported. It must serve ranges and keep
// metadata of objects. A service that does not know checksums with SHA-256 is
// sent MD5 if the RequestChecksumCalculation of the client is WhenRequired.
//
// # Permissions
//
// This is all that a Location needs:
//
//	{
//	  "Version": "2012-10-17",
//	  "Statement": [
//	    {
//	      "Effect": "Allow",
//	      "Action": ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
//	      "Resource": "arn:aws:s3:::example-backups"
//	    },
//	    {
//	      "Effect": "Allow",
//	      "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
//	      "Resource": "arn:aws:s3:::example-backups/tomo/*"
//	    }
//	  ]
//	}
//
// With s3:ListBucket the service says that there is no such file, and not that
// access is denied. To bind it to the prefix, take a condition that lets pass what
// has none: "StringLikeIfExists": {"s3:prefix": "tomo/*"}. Without
// s3:ListBucketMultipartUploads all works, but what killed uploads have left stays.
//
// # Killed uploads
//
// A file of 8 MiB or more is uploaded in parts. If the process is killed in the
// middle, its parts are not seen, but they are paid for. A later Put removes them
// when they are two days old. A rule of the bucket does it even if there is no
// later Put:
//
//	{
//	  "Rules": [{
//	    "ID": "abort-uploads", "Status": "Enabled", "Filter": {"Prefix": "tomo/"},
//	    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3}
//	  }]
//	}
//
// Let no rule of the bucket move what is there to an archive or delete it:
// retention is the Manager's, which must be able to read what it decides on.
//
// # Versions and locks
//
// In a bucket with versions a Delete hides a file, and its space is free only when
// the rules of the bucket drop old versions. Object Lock needs versions, so with
// it a Delete works too, and the version stays as long as it is locked: that
// protects backups from whoever has stolen the credentials of the host. The small
// files that come and go while a Manager holds the Location stay as versions too.
// A service that has locks without versions refuses the Delete, with an error that
// wraps fs.ErrPermission: there a Manager cannot work.
//
// # Encryption
//
// What lies in the bucket can be read by whoever may read the bucket. To keep it
// from the provider, encrypt whole files with [backup.BackupOptions].Encrypt or
// the Encrypt of the Manager, and seal secrets in any case. What the bucket
// encrypts by itself (SSE-S3, SSE-KMS) is put and read as usual; SSE-KMS needs
// kms:GenerateDataKey and kms:Decrypt.
package s3location
