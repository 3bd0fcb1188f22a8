"""Checks proof files of certificates. It needs numpy alone and imports nothing of `sparring`, which wrote them."""


def check(proof: str, network: str | None = None) -> int:
    """Check a proof file and print what it proves, or why it proves nothing.

    Args:
        proof: path of the proof file.
        network: path of the ONNX file that the proof is about, which is compared with the network in the proof; None to leave that out.

    Returns:
        The exit code: 0 verified, 1 rejected, 2 it cannot be read or compared.
    """
    from sparring_check import check_network, check_proof

    code = check_proof.main([proof, *([] if network is None else ["--network", network])])
    return code or (0 if network is None else check_network.main([proof, network]))
