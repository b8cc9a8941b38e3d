"""Bulk prediction: an archive of images becomes a folder of Parquet files, one for 256 images.

Read `plan.py` first: the names of the images are listed once, and the file of a part is the only record that
the part is done. So the same command again goes on where the last one ended.

    source.py         the images: a folder, or an S3 or Google Cloud Storage bucket; also `pacs.web_source`
    output.py         the output folder, with files that appear whole or not at all
    plan.py           what was run, the list of names, its parts, and the parts that remain
    rows.py           one row for each image, refused ones too
    dicom_results.py  DICOM results of each image, in a folder beside
    reader.py         reads the images of a part and writes its file
    progress.py       rate and time left, and the counts at the end
    run.py            reads all parts that remain, on this machine
    on_ray.py         ... or on a Ray cluster; the only file that imports ray
"""
