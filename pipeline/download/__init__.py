"""Downloads: a list's items flow in; media files with recorded facts and one outcome each flow out."""
