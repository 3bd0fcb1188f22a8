"""`python -m sparring`: the command `spar`."""

from sparring.models.user_folder import leave_path

leave_path()

from sparring.cli.app import main  # noqa: E402

if __name__ == "__main__":
    main()
