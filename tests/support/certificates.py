"""A chain of certificates made for a test: a root, and one for signing content (C2PA 2, section 14.5)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class Chain:
    certificate: Path
    """PEM: the signer's, then the root's."""
    key: Path
    root: str
    """PEM."""


def make_chain(folder, name="Test Studio", *, days=30):
    """Write a new chain to a folder and return it. days: how long the signer's certificate is valid; negative: was."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = _name("Test Root")
    root = _certificate(root_name, root_name, root_key, root_key, days=3650, is_root=True)
    signer = _certificate(_name(name), root_name, key, root_key, days=days, is_root=False)
    chain = Chain(folder / f"{name}.pem", folder / f"{name}.key", _pem(root).decode())
    chain.certificate.write_bytes(_pem(signer) + _pem(root))
    chain.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain


def _name(common):
    named = ((NameOID.COMMON_NAME, common), (NameOID.ORGANIZATION_NAME, "Tests"))
    return x509.Name([x509.NameAttribute(*each) for each in named])


def _certificate(subject, issuer, key, issuer_key, *, days, is_root):
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign") if is_root else _usage("digital_signature"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if not is_root:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        builder = builder.add_extension(identifier, critical=False).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
        )
    return builder.sign(issuer_key, hashes.SHA256())


def _usage(*allowed):
    return x509.KeyUsage(**{usage: usage in allowed for usage in USAGES})


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)
